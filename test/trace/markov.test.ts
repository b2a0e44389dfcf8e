import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { parse } from 'yaml'
import { describe, expect, it } from 'vitest'
import { InputError } from '../../src/core/errors.ts'
import { randomStream } from '../../src/core/random.ts'
import { createLink } from '../../src/trace/link.ts'
import { fitMarkovLink, formatLinkModel } from '../../src/trace/fit.ts'
import type { LinkModelText } from '../../src/trace/fit.ts'
import { checkLinkModel, longRun, readLinkModel, sampleLink } from '../../src/trace/markov.ts'
import { fitRecipe, readRecipes } from '../../src/trace/import/recipe.ts'
import { quantile } from '../../src/core/quantile.ts'
import { makeTrace } from '../../src/trace/table.ts'
import { itShared, sharedPath } from '../shared.ts'

const root = join(import.meta.dirname, '../..')
const folder = join(root, 'traces/links')
const models = readdirSync(folder)
  .filter((name) => name.endsWith('.yaml'))
  .sort()
  .map((name) => readLinkModel(join(folder, name)))

const text: LinkModelText = {
  name: 'two-level',
  description: 'a test',
  place: 'nowhere',
  split: 'train',
  composition: 'recorded together',
  origin: [{ source: 'test', url: 'none', cite: 'none', licence: 'CC0', used: 'all' }],
  binSeconds: 1,
  lanes: { uplink: { chain: 0 }, downlink: { chain: 0 }, rtt: { constantMs: 10, reason: 'a test' } },
}

/** A chain with known transitions: silent, slow, fast; the downlink is 10 times the uplink. */
function knownTrace(seconds: number, gapAt: number) {
  const random = randomStream(7, 'known')
  const transition = [
    [0.8, 0.2, 0],
    [0.1, 0.7, 0.2],
    [0, 0.1, 0.9],
  ]
  let state = 1
  const up = new Float64Array(seconds)
  for (let i = 0; i < seconds; i++) {
    up[i] = state === 0 ? 0 : (state === 1 ? 1e6 : 8e6) * (1 + 0.1 * random.uniform())
    const draw = random.uniform()
    state = draw < transition[state][0] ? 0 : draw < transition[state][0] + transition[state][1] ? 1 : 2
  }
  up[gapAt] = NaN
  const meta = {
    schemaVersion: 1 as const,
    name: 'known',
    origin: 'test',
    licence: 'CC0',
    kind: 'recorded' as const,
    rateKind: 'tcp-goodput' as const,
    format: 'test',
    sourceSha256: null,
    minBinSeconds: 0,
    notes: [],
  }
  const timeSeconds = Float64Array.from({ length: seconds + 1 }, (_, i) => i)
  return makeTrace(
    { meta, timeSeconds, uplinkBitsPerSecond: up, downlinkBitsPerSecond: up.map((rate) => 10 * rate) },
    'known',
  )
}

describe('a fitted chain', () => {
  const trace = knownTrace(40_000, 20_000)
  const model = fitMarkovLink(text, [{ traces: [trace], lanes: ['uplink', 'downlink'], states: 2 }])

  it('finds the transitions of the chain that made the data', () => {
    expect(model.chains[0].transition[0][0]).toBeCloseTo(0.8, 1)
    // Outages last 1 / (1 - 0.8) = 5 s on average.
    const link = sampleLink(model, 100_000, randomStream(1, 'outages'))
    const outages = link.upBitsPerSecond.reduce(
      (n, r, i, a) => n + (r === 0 && i > 0 && a[i - 1] > 0 ? 1 : 0),
      0,
    )
    const silence = link.upBitsPerSecond.filter((rate) => rate === 0).length
    expect(silence / outages).toBeGreaterThan(4.5)
    expect(silence / outages).toBeLessThan(5.5)
    const expected = trace.uplinkBitsPerSecond.filter((rate) => rate === 0).length / 40_000
    expect(silence / 100_000).toBeCloseTo(expected, 1)
  })

  it('keeps lanes that were recorded together in step', () => {
    const fine = fitMarkovLink(text, [{ traces: [trace], lanes: ['uplink', 'downlink'], states: 8 }])
    const link = sampleLink(fine, 5_000, randomStream(2, 'step'))
    let apart = 0
    for (let i = 0; i < 5_000; i++) {
      const ratio = link.downBitsPerSecond[i] / link.upBitsPerSecond[i]
      if (link.upBitsPerSecond[i] === 0) expect(link.downBitsPerSecond[i]).toBe(0)
      else if (ratio < 5 || ratio > 20) apart++
    }
    // Only the one class that straddles both levels mixes them; drawn apart, a third of all would be.
    expect(apart / 5_000).toBeLessThan(0.1)
  })

  it('is written and read again as it was', () => {
    expect(checkLinkModel(parse(formatLinkModel(model)), 'again')).toEqual(model)
  })

  it('needs something to fit', () => {
    const data = [{ traces: [knownTrace(3, 1)], lanes: ['uplink', 'downlink'] as const, states: 8 }]
    expect(() => fitMarkovLink(text, data)).toThrow(InputError)
    const rtt = [{ traces: [trace], lanes: ['rtt'] as const, states: 2 }]
    expect(() => fitMarkovLink({ ...text, lanes: { ...text.lanes, rtt: { chain: 0 } } }, rtt)).toThrow(
      InputError,
    )
  })
})

describe('a long run', () => {
  it('is left as it is by another step', () => {
    const weights = fc.array(fc.double({ min: 0.01, max: 1, noNaN: true }), { minLength: 3, maxLength: 3 })
    fc.assert(
      fc.property(fc.tuple(weights, weights, weights), (rows) => {
        const transition = rows.map((row) => row.map((w) => w / row.reduce((a, b) => a + b)))
        const share = longRun(transition)
        transition[0].forEach((_, j) => {
          expect(share.reduce((sum, p, i) => sum + p * transition[i][j], 0)).toBeCloseTo(share[j], 8)
        })
      }),
    )
    const flip = [
      [0, 1],
      [1, 0],
    ]
    expect(longRun(flip)[0]).toBeCloseTo(0.5, 9)
  })
})

describe('shipped link models', () => {
  it('are synthetic, name their origin, and split by source and place', () => {
    const count = (split: string) => models.filter((model) => model.split === split).length
    expect([count('train') >= 2, count('validation') >= 1, count('test') >= 2]).toEqual([true, true, true])
    for (const a of models) {
      expect(a.origin.every(({ licence, cite }) => licence !== '' && cite !== '')).toBe(true)
      for (const b of models) {
        if (a.split === b.split) continue
        expect(a.place).not.toBe(b.place)
        for (const { source } of a.origin) expect(b.origin.map((o) => o.source)).not.toContain(source)
      }
    }
  })

  it.each(models)('$name: a seed makes one link, a valid one', (model) => {
    const link = sampleLink(model, 300, randomStream(3, 'links'))
    expect(link).toEqual(sampleLink(model, 300, randomStream(3, 'links')))
    expect(link.upBitsPerSecond).not.toEqual(sampleLink(model, 300, randomStream(4, 'links')).upBitsPerSecond)
    expect(link.rttSeconds.length).toBe(Math.ceil(300 / model.binSeconds))
    expect(link.label).toMatch(/^synthetic/)
    expect(createLink(link).sentSeconds('up', 0, 1e6)).toBeLessThan(Infinity)
  })

  it('are refused when they are damaged', () => {
    const [model] = models
    const bad: [string, unknown][] = [
      ['schemaVersion', { ...model, schemaVersion: 2 }],
      ['transition', { ...model, chains: model.chains.map((c) => ({ ...c, transition: [[1]] })) }],
      ['lanes.uplink', { ...model, lanes: { ...model.lanes, uplink: { chain: 7 } } }],
      ['lanes.rtt', { ...model, lanes: { ...model.lanes, rtt: { timesUplink: 1, reason: 'x' } } }],
    ]
    for (const [place, value] of bad) expect(() => checkLinkModel(value, 'x.yaml')).toThrow(place)
    fc.assert(
      fc.property(fc.json(), (json) => {
        expect(() => checkLinkModel(JSON.parse(json), 'x.yaml')).toThrow(InputError)
      }),
    )
  })

  // Without the recordings, whose licences keep them out of this repository, there is nothing to fit to.
  itShared('are what their recipes give', ['traces'], () => {
    const recipes = readRecipes(join(root, 'traces/recipes.yaml'))
    expect(recipes.map(({ name }) => name).sort()).toEqual(models.map(({ name }) => name).sort())
    for (const recipe of recipes) {
      const shipped = models.find(({ name }) => name === recipe.name)
      expect(fitRecipe(recipe, sharedPath('traces'))).toEqual(shipped)
    }
  })

  it('keep the marginal distribution of what they were fitted to', () => {
    // A state's share times its quantiles is what the recording had; the long run must give it back.
    const model = models.find(({ name }) => name === 'starlink-dish')!
    const link = sampleLink(model, 20_000, randomStream(5, 'marginal'))
    const sorted = link.upBitsPerSecond.slice().sort()
    // FORMATS of the source: p5 3.06, p50 6.63, p95 11.7 Mbit/s over 300 s.
    expect(quantile(sorted, 0.05) / 3.06e6).toBeCloseTo(1, 1)
    expect(quantile(sorted, 0.5) / 6.63e6).toBeCloseTo(1, 1)
    expect(quantile(sorted, 0.95) / 11.7e6).toBeCloseTo(1, 1)
  })
})
