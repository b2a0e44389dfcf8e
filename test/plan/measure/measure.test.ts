import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Clock } from '../../../src/core/clock.ts'
import { randomStream } from '../../../src/core/random.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import type { Engine, Feeds, Resident, RunOptions, Session } from '../../../src/core/engine/types.ts'
import type { EnergyCounter, Host } from '../../../src/plan/measure/host.ts'
import { measureProfile } from '../../../src/plan/measure/measure.ts'
import { fitLoads } from '../../../src/plan/measure/loads.ts'
import type { MeasureProgress } from '../../../src/plan/measure/points.ts'
import { randomSource } from '../../../src/plan/measure/source.ts'
import { attentionChain, EMBEDDING, ffnHalf, HEAD, layerChain } from '../../../src/plan/measure/subgraphs.ts'
import { timeRuns } from '../../../src/plan/measure/timing.ts'
import { openSubgraphStore } from '../../../src/model/graphs/subgraphStore.ts'
import type { Subgraph } from '../../../src/model/graphs/subgraphTypes.ts'
import { cacheCapacity } from '../../../src/model/graphs/cache.ts'
import { loadModel } from '../../../src/model/catalog.ts'
import type { ModelSpec } from '../../../src/model/spec.ts'
import type { Tensor } from '../../../src/core/onnx/tensor.ts'
import { BlockCosts } from '../../../src/plan/profile/costs.ts'
import { formatProfile, parseProfile } from '../../../src/plan/profile/file.ts'
import { normalFill } from '../../model/support.ts'
import { loadModel as loadOnnx } from '../../core/onnx/modelFile.ts'

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

/** A tensor of which only the size matters. */
class FakeResident implements Resident {
  dims: readonly [number, number, number]
  constructor(dims: readonly [number, number, number]) {
    this.dims = dims
  }
  grow(capacity: number): Promise<void> {
    this.dims = [this.dims[0], capacity, this.dims[2]]
    return Promise.resolve()
  }
  read(): Promise<never> {
    return Promise.reject(new Error('nobody reads a cache here'))
  }
  write(at: number, value: Tensor): Promise<void> {
    expect([at, [...value.dims]]).toEqual([0, [...this.dims]])
    return Promise.resolve()
  }
  dispose(): Promise<void> {
    return Promise.resolve()
  }
}

/** Operators and constants of a graph, as far as they tell two precisions apart; where weights lie is left out. */
function shapeOf(path: string): string[] {
  const { graph } = loadOnnx(path)
  return [
    ...graph.nodes.map(({ opType }) => opType),
    ...graph.initializers.map((one) => {
      const { dtype, dims } = 'tensor' in one ? one.tensor : one
      return `${one.name} ${dtype} ${dims.join('x')}`
    }),
  ]
}

const CALL_SECONDS = 1e-4
const SESSION_SECONDS = 0.5
const LOAD_BYTES_PER_SECOND = 1e6

/** Time passes only as this says; joules as well. It reads what a real engine would be given. */
class FakeEngine implements Engine {
  readonly info = { kind: 'native', name: 'onnxruntime-node', version: '0.0' } as const
  readonly clock: FakeClock
  open = 0
  readonly created: string[] = []
  constructor(clock: FakeClock) {
    this.clock = clock
  }
  /** The next call comes after a pause. */
  rested = false
  create(source: Uint8Array | string): Promise<Session> {
    const name = /([a-z0-9-]+)\.onnx$/.exec(source as string)![1]
    const { graph } = loadOnnx(source as string)
    const bytes = graph.initializers.reduce(
      (sum, one) => sum + ('tensor' in one ? one.tensor.data.byteLength : one.external.lengthBytes),
      0,
    )
    const layers = new Set(graph.initializers.flatMap((one) => /^layer\d+/.exec(one.name) ?? []))
    const copies = Math.max(1, layers.size)
    this.clock.seconds += SESSION_SECONDS + bytes / LOAD_BYTES_PER_SECOND
    this.open++
    this.created.push(name)
    const inputNames = graph.inputs.map((input) => input.name)
    const outputNames = graph.outputs.map((output) => output.name)
    return Promise.resolve({
      inputNames,
      outputNames,
      run: (feeds: Feeds, { residents = {}, inserts = [], fetches }: RunOptions = {}) => {
        expect([...Object.keys(feeds), ...Object.keys(residents)].sort()).toEqual([...inputNames].sort())
        expect([...fetches!, ...inserts.map(({ output }) => output)].sort()).toEqual([...outputNames].sort())
        const capacity = Object.values(residents)[0]?.dims[1] ?? 0
        for (const [input, { dims }] of Object.entries(feeds))
          if (input.startsWith('mask')) expect(dims).toEqual([1, capacity])
        this.clock.seconds += CALL_SECONDS + copies * fakeSeconds(name, feeds, residents)
        if (this.rested) this.clock.seconds += WAKE_SECONDS
        this.rested = false
        return Promise.resolve({})
      },
      dispose: () => {
        this.open--
        return Promise.resolve()
      },
    })
  }
  allocate(dims: readonly [number, number, number]): Promise<Resident> {
    return Promise.resolve(new FakeResident(dims))
  }
  close(): Promise<void> {
    return Promise.resolve()
  }
}

const WAKE_SECONDS = 7e-4

const OF_BLOCK: Record<string, number> = {
  'ffn-whole': 1,
  'ffn-first': 2,
  'ffn-second': 3,
  attention: 4,
  embedding: 6,
  head: 7,
  'batch-layers': 8,
  'batch-head': 9,
  wake: 10,
}

/** Different for every block, number of tokens and of cached positions and units. */
function fakeSeconds(name: string, feeds: Feeds, residents: Readonly<Record<string, Resident>>): number {
  const block = name.replace(/-\d+$/, '')
  if (block === 'trivial') return 0
  const [units, capacity] = Object.values(residents)[0]?.dims ?? [0, 0]
  const tokens = (feeds.x ?? feeds.ids).dims[0]
  return 1e-3 * OF_BLOCK[block] + 1e-5 * tokens + 1e-6 * units + 1e-7 * capacity
}

function fakeHost(clock: FakeClock, counters: boolean): Host {
  return {
    id: 'fake',
    description: 'a machine that does not exist',
    cores: 1,
    memoryBytes: 1e9,
    freeBytes: () => 1e9,
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
      sleep: (seconds) => {
        clock.seconds += seconds
        engine.rested = true
        return Promise.resolve()
      },
      onProgress: (progress) => seen.push(progress),
    })
    expect(profile.wakeSeconds?.value).toBeCloseTo(WAKE_SECONDS, 12)
    const costs = new BlockCosts(profile)
    for (const tokens of grid.tokens) {
      expect(costs.ffnSeconds('whole', tokens)).toBeCloseTo(1e-3 + 1e-5 * tokens, 9)
      expect(costs.ffnSeconds('first', tokens)).toBeCloseTo(2e-3 + 1e-5 * tokens, 9)
      expect(costs.ffnSeconds('second', tokens)).toBeCloseTo(3e-3 + 1e-5 * tokens, 9)
      // A prompt looks at an empty cache of one masked position.
      expect(costs.attentionPrefillSeconds(tokens, 2)).toBeCloseTo(4e-3 + 1e-5 * tokens + 2e-6 + 1e-7, 9)
    }
    for (const units of grid.units) {
      const expected = grid.contexts.map(
        (context) => 4e-3 + 1e-5 + 1e-6 * units + 1e-7 * cacheCapacity(context + 1),
      )
      for (const [i, value] of costs.attentionDecodeCurve(units).entries())
        expect(value).toBeCloseTo(expected[i], 9)
    }
    for (const tokens of grid.tokens) expect(costs.embedSeconds(tokens)).toBeCloseTo(6e-3 + 1e-5 * tokens, 9)
    expect(costs.headSeconds()).toBeCloseTo(7e-3 + 1e-5, 9)
    expect(costs.dispatchSeconds).toBeCloseTo(CALL_SECONDS, 9)
    const step = (batch: number) =>
      CALL_SECONDS +
      model.layers * (8e-3 + 1e-5 * batch + 2e-6 + 1e-7 * cacheCapacity(9)) +
      9e-3 +
      1e-5 * batch
    expect(profile.batch.provenance.kind).toBe('measured')
    expect(profile.batch.sizes).toEqual([1, 2, 4, 8])
    for (const [i, size] of profile.batch.sizes.entries())
      expect(profile.batch.factors[i]).toBeCloseTo(step(size) / step(1), 9)
    expect(profile.load?.segmentSeconds.value).toBeCloseTo(SESSION_SECONDS, 9)
    expect(profile.loadBytesPerSecond.value / LOAD_BYTES_PER_SECOND).toBeCloseTo(1, 6)
    expect(seen).toHaveLength(seen[0].total)
    expect(seen.at(-1)!.done).toBe(seen[0].total)
    expect(seen.every(({ timing }) => timing.repeats >= 3 && timing.relativeSpread < 1e-6)).toBe(true)
    expect(engine.open).toBe(0)
    expect(engine.created.filter((name) => name === 'attention')).toHaveLength(grid.units.length)
    expect(engine.created.filter((name) => name.startsWith('ffn-first'))).toHaveLength(model.layers)
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
    expect(without.wire).toBeUndefined()
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

  test('a batch that the machine cannot hold is modelled; what the caller measured is kept', async () => {
    const clock = new FakeClock()
    const profile = await measureProfile(model, {
      engine: new FakeEngine(clock),
      clock,
      grid: { tokens: [1, 16], contexts: [1, 16], units: [2] },
      folder,
      budgetSeconds: 0.01,
      messageSeconds: 3e-5,
      host: { ...fakeHost(clock, false), freeBytes: () => 1e6 },
    })
    expect(profile.batch.provenance.kind).toBe('modelled')
    expect(profile.batch.factors[0]).toBe(1)
    expect(profile.wire?.messageSeconds.value).toBe(3e-5)
  })

  test.each(['fp32', 'int8', 'int4'] as const)(
    'at %s the very graphs that the runtime runs are timed',
    async (precision) => {
      const clock = new FakeClock()
      const engine = new FakeEngine(clock)
      const seen = new Map<string, string[]>()
      const create = engine.create.bind(engine)
      engine.create = (source) => {
        const path = String(source)
        seen.set(
          /([a-z]+)[^/]*\.onnx$/.exec(path)![1] + (path.includes('loads') ? ' loads' : ''),
          shapeOf(path),
        )
        return create(source)
      }
      const grid = { tokens: [1, 16], contexts: [1, 16], units: [1, 2] }
      const host = fakeHost(clock, false)
      const profile = await measureProfile(model, {
        engine,
        precision,
        clock,
        grid,
        folder,
        budgetSeconds: 0.01,
        host,
        sleep: () => Promise.resolve(),
      })
      expect(profile.precision).toBe(precision)
      const runtimeFolder = mkdtempSync(join(tmpdir(), 'edgewise-measure-runtime-'))
      const source = randomSource(model, normalFill(randomStream(1, 'runtime')))
      const runtime = openSubgraphStore(runtimeFolder, source, precision)
      const shapeInRuntime = (segment: Subgraph) => shapeOf(runtime.store(segment).path)
      // The last one of each kind: all units, layers of a chain, a half of the last layer.
      expect(seen.get('attention')).toEqual(shapeInRuntime(attentionChain(model.layers, 2)))
      expect(seen.get('ffn')).toEqual(shapeInRuntime(ffnHalf(model.layers - 1, 'second')))
      expect(seen.get('head')).toEqual(shapeInRuntime(HEAD))
      expect(seen.get('embedding')).toEqual(shapeInRuntime(EMBEDDING))
      expect(seen.get('attention loads')).toEqual(shapeInRuntime(layerChain(model.layers, 2)))
      const products = { fp32: 'MatMul', int8: 'DynamicQuantizeMatMul', int4: 'MatMulNBits' }
      expect(seen.get('attention')!.join()).toContain(products[precision])
      rmSync(runtimeFolder, { recursive: true })
    },
  )

  test('weights may be given, if they are of the model', async () => {
    const engine = await openEngine('worker')
    const source = randomSource(model, normalFill(randomStream(1, 'given')))
    const asked: number[] = []
    const counted = { ...source, ffn: (layer: number) => (asked.push(layer), source.ffn(layer)) }
    const grid = { tokens: [1, 16], contexts: [1, 16], units: [1, 2] }
    const options = { engine, grid, folder, budgetSeconds: 0.05 }
    await measureProfile(model, { ...options, source: counted })
    expect(new Set(asked)).toEqual(new Set([0, 1, 2]))
    const other = { ...source, model: { ...model, layers: 4 } }
    await expect(measureProfile(model, { ...options, source: other })).rejects.toThrow(
      /weights of test-grouped/,
    )
    await engine.close()
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

describe('fitLoads', () => {
  const reading = (weightBytes: number, seconds: number) => ({
    name: 'x',
    weightBytes,
    seconds,
    residentBytes: 0,
  })

  test('finds the line behind sessions of any sizes', () => {
    const sizes = [0, 1e3, 1e5, 1e7, 3e8]
    const fit = fitLoads(sizes.map((bytes) => reading(bytes, 2e-3 + bytes / 5e8)))
    expect(fit.segmentSeconds).toBeCloseTo(2e-3, 9)
    expect(fit.bytesPerSecond / 5e8).toBeCloseTo(1, 6)
  })

  test('gives neither part for nothing where there is no such line', () => {
    for (const readings of [
      [reading(100, 1)],
      [reading(1, 2), reading(1000, 1)],
      [reading(5, 1), reading(5, 1)],
    ]) {
      const fit = fitLoads(readings)
      expect(fit.segmentSeconds).toBeGreaterThan(0)
      expect(fit.bytesPerSecond).toBeGreaterThan(0)
      expect(Number.isFinite(fit.bytesPerSecond)).toBe(true)
    }
  })
})

test('runs are timed in turn, with the other run after each', async () => {
  const clock = new FakeClock()
  const order: string[] = []
  const run = (name: string, seconds: number) => () => {
    order.push(name)
    clock.seconds += seconds
    return Promise.resolve()
  }
  const options = { secondsPerPoint: 0, minRepeats: 3, maxRepeats: 3 }
  const samples = await timeRuns([run('a', 0.1), run('b', 0.2)], run('z', 0.01), clock, options)
  expect(order.join('')).toBe('azbazbzaz')
  expect(samples.runs.map((seconds) => seconds.toFixed(2))).toEqual(['0.10', '0.20', '0.10'])
  expect(samples.beside).toHaveLength(3)
})
