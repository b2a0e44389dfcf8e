/**
 * 16-bit floats. F16 is IEEE 754 binary16; BF16 is the upper half of a float32. Bits are unsigned integers.
 */

const word = new Float32Array(1)
const wordBits = new Uint32Array(word.buffer)

/** Float32 values of all 65,536 F16 bit patterns: a look-up beats arithmetic over millions of weights. */
let table: Float32Array | null = null

export function halfTable(): Float32Array {
  table ??= Float32Array.from({ length: 65_536 }, (_, bits) => halfToFloat(bits))
  return table
}

function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1024 + fraction) * 2 ** (exponent - 25)
}

/** The nearest F16, ties to even; from 65,520 on it is infinite. */
export function floatToHalf(value: number): number {
  word[0] = value
  const bits = wordBits[0]
  const sign = (bits >>> 16) & 0x8000
  const magnitude = bits & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x47800000) return sign | 0x7c00
  if (magnitude >= 0x38800000) return sign | roundShift(magnitude - 0x38000000, 13)
  // Below 2^-14 F16 counts in steps of 2^-24; the product is exact, and adding 1.5 * 2^23 rounds it to an even integer.
  const steps = Math.fround(Math.abs(word[0]) * 2 ** 24)
  return sign | (Math.fround(steps + 12_582_912) - 12_582_912)
}

/** `value` / 2^bits, rounded to the nearest, ties to even. A carry runs into the exponent, as it should. */
function roundShift(value: number, bits: number): number {
  const half = 1 << (bits - 1)
  const odd = (value >>> bits) & 1
  return (value + half - 1 + odd) >>> bits
}

/** The float32 whose upper half are the bits. */
export function bfloatToFloat(bits: number): number {
  wordBits[0] = bits << 16
  return word[0]
}
