/** K/V caches grow by this many tokens at a time; what is not held yet is masked. */
export const CACHE_CHUNK_TOKENS = 64

/** Positions that a cache has when it is to hold `tokens` tokens; at least one chunk. */
export function cacheCapacity(tokens: number): number {
  return CACHE_CHUNK_TOKENS * Math.max(1, Math.ceil(tokens / CACHE_CHUNK_TOKENS))
}
