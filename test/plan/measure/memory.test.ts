import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { describeProfile } from '../../../src/cli/commands/profileTable.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { InputError } from '../../../src/core/errors.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import { randomStream } from '../../../src/core/random.ts'
import { LoadedSubgraph } from '../../../src/plan/measure/blocks.ts'
import { thisHost, type Host } from '../../../src/plan/measure/host.ts'
import { measureProfile } from '../../../src/plan/measure/measure.ts'
import { loadBytes, runBytes } from '../../../src/plan/measure/memory.ts'
import type { MeasureProgress } from '../../../src/plan/measure/points.ts'
import { randomSource } from '../../../src/plan/measure/source.ts'
import { attentionChain, EMBEDDING, ffnHalf, HEAD } from '../../../src/plan/measure/subgraphs.ts'
import { sharedFill } from '../../../src/model/graphs/weights.ts'
import { RUNTIME_PRECISIONS } from '../../../src/model/precision.ts'
import type { ModelSpec } from '../../../src/model/spec.ts'
import { partBytes, runtimeMemoryTerms } from '../../../src/plan/price/memory.ts'
import { BlockCosts } from '../../../src/plan/profile/costs.ts'
import { extendCurve, extendSurface } from '../../../src/plan/profile/extrapolate.ts'
import { formatProfile, parseProfile } from '../../../src/plan/profile/file.ts'
import { DEFAULT_MAX_TOKENS, fullGrid, quickGrid } from '../../../src/plan/profile/grid.ts'
import { profileLabel } from '../../../src/plan/profile/precision.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-measure-memory-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** The smallest model with a long context: a prompt of all of it would have scores of 17 GB. */
const long: ModelSpec = {
  id: 'test-long',
  family: 'llama',
  layers: 1,
  width: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ffnWidth: 128,
  vocabulary: 50,
  contextTokens: 32_768,
  tiedHead: false,
}

/** Measures the long model with so much free memory; `sleep` passes at once. */
async function measure(freeBytes: number, maxTokens?: number) {
  const host: Host = { ...thisHost(), freeBytes: () => freeBytes, energyCounters: () => null }
  const engine = await openEngine('native')
  const seen: MeasureProgress[] = []
  try {
    const profile = await measureProfile(long, {
      engine,
      grid: 'quick',
      folder,
      host,
      budgetSeconds: 0.01,
      sleep: () => Promise.resolve(),
      onProgress: (progress) => seen.push(progress),
      ...(maxTokens === undefined ? {} : { maxTokens }),
    })
    return { profile, seen }
  } finally {
    await engine.close()
  }
}

describe('a model with a context of 32,768 tokens', () => {
  test('is measured to the tokens that were asked for; above, the profile is extrapolated and says so', async () => {
    const { profile, seen } = await measure(8e9, 256)
    expect(profile.measuredTokens).toEqual({ prompt: 256, context: 256 })
    const knots = [256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768]
    expect(profile.blocks.embed.knots.slice(-8)).toEqual(knots)
    expect(profile.blocks.attention.decode.knots).toEqual([1, 16, ...knots])
    expect(seen.some(({ label }) => / 512 tokens/.test(label))).toBe(false)
    const again = parseProfile(formatProfile(profile), 'memory')
    const costs = new BlockCosts(again)
    expect(costs.attentionPrefillSeconds(32_768, 2)).toBeGreaterThanOrEqual(
      costs.attentionPrefillSeconds(256, 2),
    )
    expect(costs.attentionDecodeSeconds(32_768, 2)).toBeGreaterThan(0)
    expect(profileLabel(profile)).toContain('extrapolated above 256 tokens')
    const text = describeProfile(profile, { colour: false, isTerminal: false })
    expect(text).toMatch(/attention, prompt tokens \(2 units\) +32,768 .*extrapolated/)
    expect(text).toContain('Measured up to prompts of 256 tokens')
  })

  test('is measured to fewer tokens where little memory is free', async () => {
    const { profile } = await measure(20e6)
    const { prompt, context } = profile.measuredTokens!
    expect(prompt).toBe(256)
    expect(context).toBe(4096)
    const step = { tokens: prompt, position: 0 }
    expect(runBytes(long, attentionChain(1, 2), step)).toBeLessThan(20e6)
    expect(runBytes(long, attentionChain(1, 2), { ...step, tokens: 4 * prompt })).toBeGreaterThan(20e6)
  })

  test('is refused with both numbers where not even its weights have room, and leaves nothing', async () => {
    const attempt = measure(1e5)
    await expect(attempt).rejects.toThrow(InputError)
    await expect(attempt).rejects.toThrow(/free memory[^]*found: 0.000100 GB free[^]*--max-tokens/)
    expect(readdirSync(folder)).toEqual([])
  })

  test('has knots up to what scenarios ask, unless more is asked for', () => {
    for (const grid of [fullGrid(long, DEFAULT_MAX_TOKENS), quickGrid(long, DEFAULT_MAX_TOKENS)]) {
      expect(grid.tokens.at(-1)).toBe(4096)
      expect(grid.contexts.at(-1)).toBe(4096)
    }
    expect(fullGrid({ ...long, contextTokens: 1000 }, DEFAULT_MAX_TOKENS).tokens.at(-1)).toBe(1000)
    expect(fullGrid(long).tokens.at(-1)).toBe(32_768)
  })
})

test.each(RUNTIME_PRECISIONS)(
  'weights of %s are counted as float32 once, and twice as they are stored',
  (precision) => {
    const [drawn, stored] = (['fp32', precision] as const).map((one) =>
      partBytes(runtimeMemoryTerms(long, one)),
    )
    const subgraphs = {
      embed: EMBEDDING,
      head: HEAD,
      unit: attentionChain(1, 1),
      ffnFirst: ffnHalf(0, 'first'),
      ffnSecond: ffnHalf(0, 'second'),
    }
    for (const [name, subgraph] of Object.entries(subgraphs)) {
      const part = name as keyof typeof subgraphs
      expect(loadBytes(long, precision, subgraph), part).toBe(drawn[part] + 2 * stored[part])
    }
  },
)

test('the estimate of a prompt is above what this process takes for it, and not by much', async () => {
  const engine = await openEngine('native')
  const fill = sharedFill(randomStream(1, 'memory'))
  const bench = {
    engine,
    clock: systemClock,
    host: thisHost(),
    threads: 1,
    folder,
    source: randomSource(long, fill),
    precision: 'fp32',
    fill,
    onLoad: () => undefined,
  } as const
  const chain = attentionChain(1, 2)
  const loaded = await LoadedSubgraph.load(bench, 'attention', chain, { tokens: 1, position: 0 })
  const step = { tokens: 2048, position: 0 }
  const before = process.memoryUsage.rss()
  await (
    await loaded.runner(step)
  )()
  const taken = 1024 * process.resourceUsage().maxRSS - before
  await loaded.dispose()
  await engine.close()
  expect(taken).toBeLessThan(runBytes(long, chain, step))
  expect(taken).toBeGreaterThan(runBytes(long, chain, step) / 6)
})

describe('what is extrapolated', () => {
  const provenance = { kind: 'measured', source: 'a test' } as const
  const knots = [1, 16, 256, 1024]

  test('continues a line, and the square of a prompt, exactly', () => {
    const amount = fc.double({ min: 1e-6, max: 1, noNaN: true })
    fc.assert(
      fc.property(amount, amount, amount, fc.integer({ min: 1025, max: 40_000 }), (a, b, c, last) => {
        const line = (x: number): number => a + b * x
        const curve = extendCurve({ knots, seconds: knots.map(line), provenance }, last)
        expect(curve.knots.at(-1)).toBe(last)
        curve.knots.forEach((knot, i) => expect(curve.seconds[i] / line(knot)).toBeCloseTo(1, 6))
        const square = (x: number): number => a + b * x + c * x * x
        const seconds = knots.flatMap((knot) => [square(knot), 2 * square(knot)])
        const surface = extendSurface({ knots, units: [1, 2], seconds, provenance }, last, true)
        surface.knots.forEach((knot, i) => {
          expect(surface.seconds[2 * i] / square(knot)).toBeCloseTo(1, 6)
          expect(surface.seconds[2 * i + 1] / square(knot)).toBeCloseTo(2, 6)
        })
      }),
    )
  })

  test('never falls below what was measured, and leaves a whole curve as it is', () => {
    const falling = { knots: [1, 16], seconds: [2, 1], provenance, relativeSpread: [0.1, 0.2] }
    expect(extendCurve(falling, 64)).toEqual({
      knots: [1, 16, 32, 64],
      seconds: [2, 1, 1, 1],
      relativeSpread: [0.1, 0.2, 0.2, 0.2],
      provenance,
    })
    expect(extendCurve(falling, 16)).toBe(falling)
  })
})
