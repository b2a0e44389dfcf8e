import { describe, expect, it } from 'vitest'
import { interpolatedMedian, interpolatedQuantile, quantile } from '../../src/core/quantile.ts'

describe('quantiles', () => {
  it('are one of the values where they are order statistics', () => {
    expect([0, 0.5, 0.95, 1].map((q) => quantile([1, 2, 3, 10], q))).toEqual([1, 3, 10, 10])
    expect(quantile([7], 0.5)).toBe(7)
  })

  it('lie between two values where they are interpolated', () => {
    expect([0, 0.25, 0.5, 1].map((q) => interpolatedQuantile([1, 2, 3, 10], q))).toEqual([1, 1.75, 2.5, 10])
    expect(interpolatedMedian([10, 1, 3, 2])).toBe(2.5)
    expect(interpolatedMedian([10, 1, 3])).toBe(3)
  })
})
