/**
 * IEEE 754 half precision as 16 raw bits. Own code because every boundary tensor passes here, and the npm library wraps
 * every element access.
 */
const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

/** The nearest half (ties to even); infinity above the largest half. */
export function halfOfFloat(value: number): number {
  float[0] = value
  return halfOfBits(bits[0])
}

/** The nearest half of each value. */
export function halvesOfFloats(values: Float32Array): Uint16Array {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const halves = new Uint16Array(values.length)
  for (let i = 0; i < halves.length; i++) halves[i] = halfOfBits(words[i])
  return halves
}

/** `word` holds the bits of a float32. */
function halfOfBits(word: number): number {
  const sign = (word >>> 16) & 0x8000
  const magnitude = word & 0x7fffffff
  if (magnitude >= 0x47800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00)
  if (magnitude < 0x38800000) return sign | subnormal(magnitude)
  const rounded = magnitude + 0xfff + ((magnitude >>> 13) & 1)
  return sign | ((rounded - 0x38000000) >>> 13)
}

/** A half below 2^-14: a whole number of 2^-24, ties to even. */
function subnormal(magnitude: number): number {
  const scaled = floatOfBits(magnitude) * 2 ** 24
  const down = Math.floor(scaled)
  const rest = scaled - down
  return down + (rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? 1 : 0)
}

function floatOfBits(word: number): number {
  bits[0] = word
  return float[0]
}

let table: Float32Array | null = null

/** The value of 16 half-precision bits. */
export function floatOfHalf(half: number): number {
  return decoded()[half]
}

/** The value of each half. */
export function floatsOfHalves(halves: Uint16Array): Float32Array {
  const numbers = decoded()
  const values = new Float32Array(halves.length)
  for (let i = 0; i < values.length; i++) values[i] = numbers[halves[i]]
  return values
}

function decoded(): Float32Array {
  table ??= Float32Array.from({ length: 65_536 }, (_, i) => decode(i))
  return table
}

function decode(half: number): number {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 31
  const fraction = half & 1023
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
