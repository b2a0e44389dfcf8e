/** K/V caches grow by this many tokens at a time; positions without a token are masked. */
export const CACHE_CHUNK_TOKENS = 64

/** Capacity of a K/V cache for `tokens` tokens, at least one chunk. */
export function cacheCapacity(tokens: number): number {
  return CACHE_CHUNK_TOKENS * Math.max(1, Math.ceil(tokens / CACHE_CHUNK_TOKENS))
}

/** Graphs take and give keys and values as float32, whatever the precision of the weights. */
export const CACHE_BYTES_PER_ELEMENT = 4
