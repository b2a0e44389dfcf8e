/**
 * xoshiro128** (Blackman & Vigna, https://prng.di.unimi.it/xoshiro128starstar.c), seeded by SplitMix32 over an FNV-1a
 * hash of the stream's name. The state is plain data. Each consumer has a named stream of its own, so that an
 * additional draw in one never shifts another.
 */
export class RandomStream {
  private a = 0
  private b = 0
  private c = 0
  private d = 0

  constructor(state: RandomState) {
    this.restore(state)
  }

  /** The next 32 random bits as an unsigned integer. */
  nextUint32(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.b, 5), 7), 9)
    const t = this.b << 9
    this.c ^= this.a
    this.d ^= this.b
    this.b ^= this.c
    this.a ^= this.d
    this.c ^= t
    this.d = rotateLeft(this.d, 11)
    return result >>> 0
  }

  /** Uniform in [0, 1) with 53 random bits. */
  uniform(): number {
    const high = this.nextUint32() >>> 5
    const low = this.nextUint32() >>> 6
    return (high * 67108864 + low) / 9007199254740992
  }

  /** Uniform integer in [0, bound); bound in 1..2^32. Unbiased (rejection). */
  integer(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1 || bound > 4294967296) {
      throw new RangeError(`bound: expected an integer in 1..2^32, found ${bound}`)
    }
    const limit = 4294967296 - (4294967296 % bound)
    let draw = this.nextUint32()
    while (draw >= limit) draw = this.nextUint32()
    return draw % bound
  }

  /** Exponential with the given mean. */
  exponential(mean: number): number {
    return -mean * Math.log1p(-this.uniform())
  }

  /** Standard normal (Box-Muller, one value per call, so that four words are the whole state). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log1p(-this.uniform()))
    return radius * Math.cos(2 * Math.PI * this.uniform())
  }

  /** The complete state, four 32-bit words. */
  state(): RandomState {
    return [this.a >>> 0, this.b >>> 0, this.c >>> 0, this.d >>> 0]
  }

  restore(state: RandomState): void {
    if (state.length !== 4 || state.every((word) => word === 0)) {
      throw new RangeError(`state: expected four words, not all zero, found [${state.join(', ')}]`)
    }
    this.a = state[0] | 0
    this.b = state[1] | 0
    this.c = state[2] | 0
    this.d = state[3] | 0
  }
}

/** Four 32-bit words, not all zero. */
export type RandomState = readonly [number, number, number, number]

/** Creates the stream `name` under `seed`; equal arguments give equal streams. */
export function randomStream(seed: number, name: string): RandomStream {
  let hash = 2166136261 ^ (seed >>> 0)
  hash = Math.imul(hash ^ Math.floor(seed / 4294967296), 16777619)
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 16777619)
  const next = splitMix32(hash)
  const state: RandomState = [next(), next(), next(), next()]
  return new RandomStream(state.every((word) => word === 0) ? [1, 0, 0, 0] : state)
}

function splitMix32(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
}

function rotateLeft(x: number, bits: number): number {
  return (x << bits) | (x >>> (32 - bits))
}
