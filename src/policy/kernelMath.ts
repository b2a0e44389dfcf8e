/**
 * out[o] = bias[o] + sum_i x[i] weight[o, i]; weight is [outputs, inputs]. Four outputs at a time: four
 * independent sums hide the latency of the additions. `bias` may be `out` itself.
 */
export function dense(
  x: Float64Array,
  weight: Float64Array,
  bias: Float64Array,
  out: Float64Array,
  inputs: number,
  outputs: number,
): void {
  let o = 0
  for (; o + 4 <= outputs; o += 4) {
    const w0 = o * inputs
    const w1 = w0 + inputs
    const w2 = w1 + inputs
    const w3 = w2 + inputs
    let s0 = bias[o]
    let s1 = bias[o + 1]
    let s2 = bias[o + 2]
    let s3 = bias[o + 3]
    for (let i = 0; i < inputs; i++) {
      const value = x[i]
      s0 += value * weight[w0 + i]
      s1 += value * weight[w1 + i]
      s2 += value * weight[w2 + i]
      s3 += value * weight[w3 + i]
    }
    out[o] = s0
    out[o + 1] = s1
    out[o + 2] = s2
    out[o + 3] = s3
  }
  for (; o < outputs; o++) {
    let sum = bias[o]
    for (let i = 0; i < inputs; i++) sum += x[i] * weight[o * inputs + i]
    out[o] = sum
  }
}

/**
 * tanh of the first `length` values, by the rational approximation Eigen and ONNX Runtime use for float32
 * (Eigen, MathFunctionsImpl.h, ptanh_float): within a few units of float32's last place, and several times
 * faster than Math.tanh.
 */
export function tanhInPlace(values: Float64Array, length = values.length): void {
  for (let i = 0; i < length; i++) {
    const value = values[i]
    const x = value > 9 ? 9 : value < -9 ? -9 : value
    const x2 = x * x
    let p = -2.76076847742355e-16 * x2 + 2.00018790482477e-13
    p = p * x2 - 8.60467152213735e-11
    p = p * x2 + 5.12229709037114e-8
    p = p * x2 + 1.48572235717979e-5
    p = p * x2 + 6.37261928875436e-4
    p = (p * x2 + 4.89352455891786e-3) * x
    let q = 1.19825839466702e-6 * x2 + 1.18534705686654e-4
    q = q * x2 + 2.268434632439e-3
    q = q * x2 + 4.89352518554385e-3
    values[i] = p / q
  }
}
