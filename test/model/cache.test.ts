import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CACHE_CHUNK_TOKENS, cacheCapacity } from '../../src/model/graphs/cache.ts'

test('a cache has room for its tokens in the fewest whole chunks, and never none', () => {
  expect([0, 1, 64, 65].map(cacheCapacity)).toEqual([64, 64, 64, 128])
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e6 }), (tokens) => {
      const capacity = cacheCapacity(tokens)
      expect(capacity % CACHE_CHUNK_TOKENS).toBe(0)
      expect(capacity).toBeGreaterThanOrEqual(tokens)
      expect(capacity - CACHE_CHUNK_TOKENS).toBeLessThan(tokens)
    }),
  )
})
