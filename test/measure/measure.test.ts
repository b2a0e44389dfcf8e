import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { openEngine } from '../../src/engine/open.ts'
import type { Engine, Feeds, Session } from '../../src/engine/types.ts'
import type { EnergyCounter, Host } from '../../src/measure/host.ts'
import { measureProfile } from '../../src/measure/measure.ts'
import type { MeasureProgress } from '../../src/measure/measure.ts'
import { loadModel } from '../../src/model/catalog.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import { BlockCosts } from '../../src/profile/costs.ts'
import { formatProfile, parseProfile } from '../../src/profile/file.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-measure-test-'))
afterAll(() => rmSync(folder, { recursive: true }))

const model: ModelSpec = {
  id: 'test-grouped',
  family: 'llama',
  layers: 3,
  width: 32,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  ffnWidth: 64,
  vocabulary: 50,
  contextTokens: 16,
  tiedHead: false,
}

class FakeClock implements Clock {
  seconds = 100
  nowSeconds() {
    return this.seconds
  }
  wallTime() {
    return '2026-01-01T00:00:00.000Z'
  }
}

/** Time passes only as this says; joules as well. */
class FakeEngine implements Engine {
  readonly info = { kind: 'native', name: 'onnxruntime-node', version: '0.0' } as const
  readonly clock: FakeClock
  open = 0
  created = 0
  constructor(clock: FakeClock) {
    this.clock = clock
  }
  create(source: Uint8Array | string): Promise<Session> {
    const block = /([a-z-]+)\.onnx$/.exec(source as string)![1]
    this.clock.seconds += 0.5
    this.open++
    this.created++
    return Promise.resolve({
      inputNames: [],
      outputNames: [],
      run: (feeds: Feeds) => {
        this.clock.seconds += fakeSeconds(block, feeds)
        return Promise.resolve({})
      },
      dispose: () => {
        this.open--
        return Promise.resolve()
      },
    })
  }
  allocate(): Promise<never> {
    return Promise.reject(new Error('no residents here'))
  }
  close(): Promise<void> {
    return Promise.resolve()
  }
}

const OF_BLOCK: Record<string, number> = {
  'ffn-whole': 1,
  'ffn-first': 2,
  'ffn-second': 3,
  'attention-prefill': 4,
  'attention-decode': 5,
  embedding: 6,
  head: 7,
  warm: 1,
}

/** Different for every block, number of tokens and of cached units. */
function fakeSeconds(block: string, feeds: Feeds): number {
  const size = (feeds.keys ?? feeds.x ?? feeds.ids).dims
  const tokens = block === 'attention-decode' ? size[1] : size[0]
  const units = block === 'attention-decode' ? size[0] : 0
  return 1e-3 * OF_BLOCK[block] + 1e-5 * tokens + 1e-6 * units
}

function fakeHost(clock: FakeClock, counters: boolean): Host {
  return {
    id: 'fake',
    description: 'a machine that does not exist',
    cores: 1,
    memoryBytes: 1e9,
    residentBytes: () => 1000,
    energyCounters: (): EnergyCounter[] | null =>
      counters ? [{ joules: (clock.seconds * 30) % 7, rangeJoules: 7 }] : null,
  }
}

describe('measureProfile', () => {
  test('puts every timing where it belongs, reports each point and cleans up', async () => {
    const clock = new FakeClock()
    const engine = new FakeEngine(clock)
    const seen: MeasureProgress[] = []
    const grid = { tokens: [1, 4, 16], contexts: [1, 16], units: [1, 2] }
    const profile = await measureProfile(model, {
      engine,
      clock,
      grid,
      folder,
      budgetSeconds: 0.1,
      host: fakeHost(clock, false),
      onProgress: (progress) => seen.push(progress),
    })
    const costs = new BlockCosts(profile)
    for (const tokens of grid.tokens) {
      expect(costs.ffnSeconds('whole', tokens)).toBeCloseTo(1e-3 + 1e-5 * tokens, 9)
      expect(costs.ffnSeconds('first', tokens)).toBeCloseTo(2e-3 + 1e-5 * tokens, 9)
      expect(costs.ffnSeconds('second', tokens)).toBeCloseTo(3e-3 + 1e-5 * tokens, 9)
      expect(costs.attentionPrefillSeconds(tokens, 2)).toBeCloseTo(4e-3 + 1e-5 * tokens, 9)
      expect(costs.embedSeconds(tokens)).toBeCloseTo(6e-3 + 1e-5 * tokens, 9)
    }
    for (const units of grid.units) {
      const expected = grid.contexts.map((context) => 5e-3 + 1e-5 * context + 1e-6 * units)
      for (const [i, value] of costs.attentionDecodeCurve(units).entries())
        expect(value).toBeCloseTo(expected[i], 9)
    }
    expect(costs.headSeconds()).toBeCloseTo(7e-3 + 1e-5, 9)
    expect(seen).toHaveLength(seen[0].total)
    expect(seen.at(-1)!.done).toBe(seen[0].total)
    expect(seen.every(({ timing }) => timing.repeats >= 3 && timing.relativeSpread < 1e-6)).toBe(true)
    expect(engine.open).toBe(0)
    // Blocks of a layer come in as many copies as there are layers, the ends once, and one session warms up.
    expect(engine.created).toBe(3 * (3 + 2 * 2) + 2 + 1)
    expect(readdirSync(folder)).toEqual([])
    expect(parseProfile(formatProfile(profile), 'memory')).toEqual(profile)
  })

  test('what cannot be measured is never 0 and says so; with counters it is measured', async () => {
    const grid = { tokens: [1, 16], contexts: [1, 16], units: [2] }
    const measure = (counters: boolean) => {
      const clock = new FakeClock()
      const engine = new FakeEngine(clock)
      const host = fakeHost(clock, counters)
      return measureProfile(model, { engine, clock, grid, folder, budgetSeconds: 0.01, host })
    }
    const without = await measure(false)
    expect(without.power.busyWatts.provenance.kind).toBe('modelled')
    expect(without.power.busyWatts.value).toBeGreaterThan(0)
    expect(without.memory).toBeUndefined()
    expect(without.blocks.head.provenance.kind).toBe('measured')
    expect(without.decisionSeconds.provenance.kind).toBe('assumed')
    const measured = await measure(true)
    expect(measured.power.busyWatts.provenance.kind).toBe('measured')
  })

  test('a session that fails leaves nothing behind', async () => {
    const clock = new FakeClock()
    const engine = new FakeEngine(clock)
    const create = engine.create.bind(engine)
    engine.create = (source) =>
      String(source).includes('ffn-second') ? Promise.reject(new Error('out of memory')) : create(source)
    const attempt = measureProfile(model, {
      engine,
      clock,
      grid: 'quick',
      folder,
      host: fakeHost(clock, false),
    })
    await expect(attempt).rejects.toThrow('out of memory')
    expect(engine.open).toBe(0)
    expect(readdirSync(folder)).toEqual([])
  })

  test.each(['tiny', 'grouped'])('profiles %s on this machine with the real runtime', async (id) => {
    const spec = id === 'tiny' ? loadModel('tiny') : model
    const engine = await openEngine('native')
    const units = [1, spec.kvHeads]
    const grid = { tokens: [1, spec.contextTokens], contexts: [1, spec.contextTokens], units }
    const profile = await measureProfile(spec, { engine, grid, folder, budgetSeconds: 0.2 })
    await engine.close()
    expect(parseProfile(formatProfile(profile), 'memory').blocks.attention.decode.seconds).toHaveLength(4)
    expect(profile.blocks.attention.prefill.provenance.kind).toBe('measured')
    expect(readdirSync(folder)).toEqual([])
  })
})
