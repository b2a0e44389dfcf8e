import { systemClock } from '../src/core/clock.ts'
import { randomStream } from '../src/core/random.ts'
import { openEngine } from '../src/core/engine/open.ts'
import type { Engine, Feeds, Resident, Session } from '../src/core/engine/types.ts'
import { GraphBuilder } from '../src/core/onnx/builder.ts'
import { tensorOf } from '../src/core/onnx/tensor.ts'
import type { Handle } from '../src/core/onnx/graph.ts'

/** One figure of a benchmark. */
interface BenchResult {
  readonly name: string
  readonly value: number
  readonly unit: string
}

/** A graph over caches [units, capacity, headDim]: inputs `x`, `mask`, `cache.i`; outputs `y`, `new.i`. */
interface Shape {
  readonly name: string
  readonly caches: number
  readonly units: number
  readonly headDim: number
  readonly build: (shape: Shape) => Uint8Array
}

const CAPACITY = 256
const LAYERS = 6
const ROUNDS = 30
const CALLS = 50

const SHAPES: readonly Shape[] = [
  { name: 'trivial graph', caches: 0, units: 4, headDim: 16, build: trivial },
  { name: 'trivial graph, 16 caches', caches: 16, units: 4, headDim: 16, build: trivial },
  { name: '6 layers, 64 wide', caches: 2 * LAYERS, units: 8, headDim: 8, build: transformer },
  { name: '6 layers, 288 wide', caches: 2 * LAYERS, units: 6, headDim: 48, build: transformer },
]

function inputs(g: GraphBuilder, { caches, units, headDim }: Shape): { x: Handle; held: Handle[] } {
  const x = g.input('x', 'float32', [1, units * headDim])
  const dims = [units, 'capacity', headDim]
  return { x, held: Array.from({ length: caches }, (_, i) => g.input(`cache.${i}`, 'float32', dims)) }
}

function trivial(shape: Shape): Uint8Array {
  const g = new GraphBuilder('trivial')
  const { x, held } = inputs(g, shape)
  g.input('mask', 'float32', [1, 'capacity'])
  held.forEach((_, i) => {
    g.output(g.reshape(x, [shape.units, 1, shape.headDim]), `new.${i}`)
  })
  g.output(g.mul(x, 2), 'y')
  return g.serialize()
}

/** Layers of attention to a cache and an FFN four times as wide, without norms: the shape of the work is what counts. */
function transformer(shape: Shape): Uint8Array {
  const { units, headDim } = shape
  const width = units * headDim
  const random = randomStream(1, 'bench engine')
  const g = new GraphBuilder('transformer')
  const { x, held } = inputs(g, shape)
  const mask = g.input('mask', 'float32', [1, 'capacity'])
  const linear = (value: Handle, from: number, to: number): Handle =>
    g.matmul(
      value,
      g.constant(
        Array.from({ length: from * to }, () => 0.02 * random.normal()),
        'float32',
        [from, to],
      ),
    )
  const heads = (value: Handle): Handle => g.reshape(value, [units, 1, headDim])
  let y = x
  for (let layer = 0; layer < LAYERS; layer++) {
    const [query, key, value] = [0, 1, 2].map(() => heads(linear(y, width, width)))
    const [keys, values] = [held[2 * layer], held[2 * layer + 1]]
    const past = g.add(g.matmul(query, g.transpose(keys, [0, 2, 1])), mask)
    const own = g.matmul(query, g.transpose(key, [0, 2, 1]))
    const weights = g.softmax(g.concat([past, own], 2))
    const mixed = g.matmul(weights, g.concat([values, value], 1))
    y = g.add(y, linear(g.reshape(mixed, [1, width]), width, width))
    y = g.add(y, linear(g.relu(linear(y, width, 4 * width)), 4 * width, width))
    g.output(key, `new.${2 * layer}`)
    g.output(value, `new.${2 * layer + 1}`)
  }
  g.output(y, 'y')
  return g.serialize()
}

type Call = (at: number) => Promise<unknown>

/** Caches held by the caller: they go in whole, and what is new comes back. */
function feeding(session: Session, shape: Shape): Call {
  const { caches, units, headDim } = shape
  const empty = () => new Float32Array(units * CAPACITY * headDim)
  const held = Object.fromEntries(
    Array.from({ length: caches }, (_, i) => [
      `cache.${i}`,
      tensorOf('float32', [units, CAPACITY, headDim], empty()),
    ]),
  )
  return () => session.run({ ...feedsOf(shape), ...held })
}

/** Caches held by the engine. */
async function holding(engine: Engine, session: Session, shape: Shape): Promise<Call> {
  const { caches, units, headDim } = shape
  const held: Resident[] = []
  for (let i = 0; i < caches; i++) held.push(await engine.allocate([units, CAPACITY, headDim]))
  const residents = Object.fromEntries(held.map((resident, i) => [`cache.${i}`, resident]))
  return (at) => {
    const inserts = held.map((into, i) => ({ output: `new.${i}`, into, at: at % CAPACITY }))
    return session.run(feedsOf(shape), { residents, inserts })
  }
}

function feedsOf({ units, headDim }: Shape): Feeds {
  const x = tensorOf('float32', [1, units * headDim], new Float32Array(units * headDim))
  return { x, mask: tensorOf('float32', [1, CAPACITY], new Float32Array(CAPACITY)) }
}

/**
 * Microseconds per call: the least of rounds in which the cases take turns, since whatever else the machine does
 * only adds.
 */
async function compare(calls: readonly Call[]): Promise<number[]> {
  const times: number[][] = calls.map(() => [])
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [i, call] of calls.entries()) {
      const start = systemClock.nowSeconds()
      for (let at = 0; at < CALLS; at++) await call(at)
      const each = (1e6 * (systemClock.nowSeconds() - start)) / CALLS
      // The first round warms up.
      if (round > 0) times[i].push(each)
    }
  }
  return times.map((list) => Math.min(...list))
}

/**
 * What a call costs on the native engine in this thread and on the worker, with caches fed and with caches held
 * by the engine: microseconds, and the ratios within this run.
 */
export async function run(): Promise<BenchResult[]> {
  const engines = [await openEngine('native'), await openEngine('worker')]
  const results: BenchResult[] = []
  for (const shape of SHAPES) {
    const model = shape.build(shape)
    const calls: Call[] = []
    for (const engine of engines) {
      const session = await engine.create(model)
      calls.push(feeding(session, shape), await holding(engine, session, shape))
    }
    const [nativeFed, nativeHeld, workerFed, workerHeld] = await compare(calls)
    const figure = (what: string, value: number, unit: string): void =>
      void results.push({ name: `engine: ${shape.name}, ${what}`, value, unit })
    figure('native, fed', nativeFed, 'us')
    figure('worker, fed', workerFed, 'us')
    if (shape.caches === 0) {
      figure('worker over native', workerFed / nativeFed, 'x')
      continue
    }
    figure('native, residents', nativeHeld, 'us')
    figure('worker, residents', workerHeld, 'us')
    figure('worker, residents over fed', workerHeld / workerFed, 'x')
    figure('residents, worker over native', workerHeld / nativeHeld, 'x')
  }
  for (const engine of engines) await engine.close()
  return results
}
