import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EdgewiseError, InputError } from '../../src/core/errors.ts'
import { randomStream } from '../../src/core/random.ts'
import { parseWorkload, readWorkload } from '../../src/trace/import/workload.ts'
import { readLengthModel } from '../../src/trace/lengths.ts'
import { checkStepSeries, stepAt } from '../../src/trace/step.ts'
import { sampleTenants } from '../../src/trace/tenants.ts'
import { sampleArrivals } from '../../src/trace/workload.ts'
import type { ArrivalProcess, Workload } from '../../src/trace/workload.ts'
import { itShared, sharedPath } from '../shared.ts'
import { fittedLengths } from './fittedLengths.ts'

const root = join(import.meta.dirname, '../..')
const model = readLengthModel(join(root, 'traces/lengths/azure-conversation.yaml'))
const azure = 'workloads/AzureLLMInferenceTrace_conv.csv'
const csv = [
  'TIMESTAMP,ContextTokens,GeneratedTokens',
  '2023-11-16 18:15:46.6805900,374,44',
  '2023-11-16 18:15:50.9951690,396,109',
  '2023-11-16 18:15:51.2224670,0,55',
  '2023-11-16 18:16:51.3910170,9000,16',
].join('\r\n')
const limits = { meanRatePerSecond: 0.5, contextTokens: 2048, maxNewTokens: 256 }
const workload = (arrivals: ArrivalProcess, predictorLogSd = 0.5): Workload => ({
  arrivals,
  lengths: { kind: 'synthetic', model },
  predictorLogSd,
})
const poisson: ArrivalProcess = { kind: 'poisson' }
const bursty: ArrivalProcess = { kind: 'mmpp', burstRatio: 8, meanCalmSeconds: 60, meanBurstSeconds: 20 }
const replay: ArrivalProcess = { kind: 'recorded', requests: parseWorkload(csv, 'x') }
const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

describe('the Azure trace', () => {
  it('keeps fractions of a second, and leaves out requests that ask nothing', () => {
    const read = parseWorkload(csv, 'azure.csv')
    expect(read.arrivalSeconds![1]).toBeCloseTo(4.314579, 6)
    expect(read.arrivalSeconds![2]).toBeCloseTo(64.710427, 6)
    expect([...read.promptTokens]).toEqual([374, 396, 9000])
  })

  it.each([
    ['a,b\n', 'azure.csv:1'],
    [csv.replace('396,109', '396'), 'azure.csv:3'],
    [csv.replace('18:16:51', '18:15:01'), 'azure.csv:5'],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\n', 'one request'],
  ])('%j is refused at %s', (text, message) => {
    expect(() => parseWorkload(text, 'azure.csv')).toThrow(message)
  })

  it('turns whatever it is given into requests or one clear error', () => {
    const lines = csv.split('\r\n')
    const row = fc.oneof(fc.string(), fc.constantFrom(...lines))
    fc.assert(
      fc.property(fc.array(row, { maxLength: 6 }), (rows) => {
        try {
          parseWorkload([lines[0], ...rows].join('\n'), 'azure.csv')
        } catch (error) {
          expect(error).toBeInstanceOf(EdgewiseError)
        }
      }),
    )
  })

  itShared('gives the shipped length model', [azure], () => {
    const read = readWorkload(sharedPath(azure))
    expect(read.promptTokens.length).toBe(19366)
    expect({ ...model, ...fittedLengths(read) }).toEqual(model)
  })
})

describe('arrivals', () => {
  it.each([
    ['poisson', poisson, 1],
    ['mmpp', bursty, 3],
    ['recorded', replay, 1],
  ])('%s come at the mean rate, in order, within the limits', (_name, process, leastDispersion) => {
    const seconds = 40_000
    const requests = sampleArrivals(workload(process), { ...limits, seconds }, randomStream(1, 'arrivals'))
    expect(Math.abs(requests.length / seconds / 0.5 - 1)).toBeLessThan(0.1)
    requests.forEach((request, i) => {
      if (i > 0) expect(request.arrivalSeconds).toBeGreaterThanOrEqual(requests[i - 1].arrivalSeconds)
      const { promptTokens, outputTokens, predictedOutputTokens, predictedOutputSd } = request
      expect(promptTokens >= 1 && promptTokens + limits.maxNewTokens <= limits.contextTokens).toBe(true)
      expect(outputTokens >= 1 && outputTokens <= limits.maxNewTokens).toBe(true)
      expect(predictedOutputTokens >= 1 && predictedOutputSd > 0).toBe(true)
    })
    // Index of dispersion of counts over 100 s: 1 for Poisson, more for bursts.
    const counts = new Array<number>(seconds / 100).fill(0)
    for (const { arrivalSeconds } of requests) counts[Math.floor(arrivalSeconds / 100)]++
    const variance = mean(counts.map((count) => (count - mean(counts)) ** 2))
    if (process.kind !== 'recorded') expect(variance / mean(counts)).toBeGreaterThan(0.8 * leastDispersion)
    if (process.kind === 'poisson') expect(variance / mean(counts)).toBeLessThan(1.25)
  })

  it('are one for one seed; another rate leaves lengths and predictions as they are', () => {
    const at = (meanRatePerSecond: number) =>
      sampleArrivals(workload(bursty), { ...limits, meanRatePerSecond, count: 50 }, randomStream(2, 'paired'))
    expect(at(0.5)).toEqual(at(0.5))
    const bare = (requests: ReturnType<typeof at>) =>
      requests.map((request) => ({ ...request, arrivalSeconds: 0 }))
    expect(bare(at(3))).toEqual(bare(at(0.5)))
    expect(at(0.5).length).toBe(50)
  })

  it('the predictor is calibrated, and an oracle without error', () => {
    const wide = { ...limits, contextTokens: 65_536, maxNewTokens: 30_000, count: 20_000 }
    const free = { ...model, outputTokens: { ...model.outputTokens, min: 1, max: 30_000 } }
    const source: Workload = { ...workload(poisson, 0.7), lengths: { kind: 'synthetic', model: free } }
    const requests = sampleArrivals(source, wide, randomStream(3, 'predict'))
    const error = requests.map((r) => (r.outputTokens - r.predictedOutputTokens) / r.predictedOutputSd)
    expect(Math.abs(mean(error))).toBeLessThan(0.05)
    expect(mean(error.map((e) => e * e))).toBeGreaterThan(0.85)
    expect(mean(error.map((e) => e * e))).toBeLessThan(1.15)
    const oracle = sampleArrivals(workload(poisson, 0), { ...limits, count: 200 }, randomStream(3, 'oracle'))
    for (const r of oracle)
      expect([r.predictedOutputTokens, r.predictedOutputSd]).toEqual([r.outputTokens, 0])
  })

  it.each([
    [{ count: undefined }, 'count'],
    [{ count: 1, meanRatePerSecond: 0 }, 'meanRatePerSecond'],
    [{ count: 1, contextTokens: 256 }, 'contextTokens'],
    [{ count: 1, maxNewTokens: 0.5 }, 'maxNewTokens'],
  ])('%j is refused at %s', (change, place) => {
    const asked = () => sampleArrivals(workload(poisson), { ...limits, ...change }, randomStream(1, 'bad'))
    expect(asked).toThrow(InputError)
    expect(asked).toThrow(place)
  })
})

describe('tenants', () => {
  it('have the long-run mean of their process, whatever the number of states', () => {
    // Every state is entered equally often, so that its share of the time goes with its mean sojourn.
    const two = { levels: [0, 6], meanSojournSeconds: [40, 20] }
    const three = { levels: [0, 4, 9], meanSojournSeconds: [30, 10, 5] }
    const seconds = 200_000
    for (const [process, longRunMean] of [
      [two, (6 * 20) / 60],
      [three, (4 * 10 + 9 * 5) / 45],
    ] as const) {
      const path = sampleTenants(process, seconds, randomStream(4, 'tenants'))
      checkStepSeries(path, 'tenants')
      const area = path.value.reduce((sum, level, i) => {
        const end = i + 1 < path.value.length ? path.timeSeconds[i + 1] : seconds
        return sum + level * (Math.min(end, seconds) - path.timeSeconds[i])
      }, 0)
      expect(area / seconds / longRunMean).toBeCloseTo(1, 1)
    }
    const still = sampleTenants({ levels: [3], meanSojournSeconds: [1] }, 10, randomStream(1, 'x'))
    expect(stepAt(still, 7)).toBe(3)
  })

  it('refuse what does not fit together', () => {
    const bad = { levels: [1, 2], meanSojournSeconds: [1] }
    expect(() => sampleTenants(bad, 1, randomStream(1, 'x'))).toThrow(InputError)
  })
})
