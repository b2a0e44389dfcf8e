import { describe, expect, it } from 'vitest'
import { abNoise, termResults, type CellSamples } from '../../../src/lab/calibrate/statistics.ts'
import { NO_TERM_VALUES, type TermValues } from '../../../src/lab/calibrate/types.ts'

const ttft = (value: number): TermValues => ({ ...NO_TERM_VALUES, ttft: value })
const cell = (predicted: number, runs: readonly number[], link = 'link'): CellSamples => ({
  link,
  predicted: ttft(predicted),
  runs: runs.map(ttft),
})

describe('errors of a term', () => {
  it('are of the median of a cell, with the sign of predicted - measured', () => {
    const [result] = termResults([cell(0.9, [1, 1, 1, 5]), cell(2.2, [2, 2, 2, 2]), cell(3, [3, 3, 3, 3])])
    expect(result).toMatchObject({ term: 'ttft', link: 'link', count: 3 })
    // Signed: -0.1, 0.1, 0; so the median is 0, that of the sizes 0.1 and their 95th percentile 0.1.
    expect(result.medianSignedError).toBeCloseTo(0, 12)
    expect(result.medianError).toBeCloseTo(0.1, 12)
    expect(result.p95Error).toBeCloseTo(0.1, 12)
    // One of twelve single runs is off by 0.82: the 95th percentile lies 0.45 between it and 0.1.
    expect(result.p95ErrorOfRuns).toBeCloseTo(0.1 + 0.45 * (0.82 - 0.1), 12)
  })

  it('stand beside the noise of the same thing measured twice', () => {
    // Even runs 1 and 3, odd ones 2 and 2: equal medians. Even 1, 1 and odd 2, 2: 1 over a mean of 1.5.
    expect(abNoise([1, 2, 3, 2])).toBe(0)
    expect(abNoise([1, 2, 1, 2])).toBeCloseTo(1 / 1.5, 12)
    expect(abNoise([1])).toBe(0)
  })

  it('meet the target within 10 %, or within 1.5 times the noise, where the tail is within 25 %', () => {
    const met = (predicted: number, runs: readonly number[]) => termResults([cell(predicted, runs)])[0].met
    expect(met(1.09, [1, 1, 1, 1])).toBe(true)
    expect(met(1.15, [1, 1, 1, 1])).toBe(false)
    // Halves of 0.94 and 1.06: a noise of 12 %, which allows 18 %.
    expect(met(1.15, [0.94, 1.06, 0.94, 1.06])).toBe(true)
    expect(met(1.3, [0.8, 1.2, 0.8, 1.2])).toBe(false)
  })

  it('leave out what does not apply: nothing predicted and nothing measured', () => {
    expect(termResults([cell(0, [0, 0, 0, 0])])).toEqual([])
    expect(termResults([{ link: 'link', predicted: NO_TERM_VALUES, runs: [ttft(1)] }])).toEqual([])
    expect(termResults([cell(1, [0, 0, 0, 0])])[0]).toMatchObject({ met: false, medianError: 1e9 })
  })

  it('are told for each link apart', () => {
    const results = termResults([cell(1, [1, 1], 'a'), cell(2, [1, 1], 'b')])
    expect(results.map(({ link, medianError }) => [link, medianError])).toEqual([
      ['a', 0],
      ['b', 1],
    ])
  })
})
