import { createRequire } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { InputError } from '../errors.ts'
import type { DType, TensorData } from '../onnx/tensor.ts'
import { fromOrt, toOrtTensor } from './convert.ts'
import type { OrtModule, OrtSession } from './convert.ts'
import type { RunNames } from './names.ts'
import { ResidentArray } from './residentArray.ts'
import type { ResidentDims } from './resident.ts'
import type {
  Answer,
  Loaded,
  OperationName,
  Operations,
  Question,
  Shapes,
  WorkerData,
} from './workerProtocol.ts'

/**
 * The program of an engine's worker thread. It answers one question at a time, in order, and transfers the buffers of
 * outputs. onnxruntime-node is loaded at the first question, from the path that the parent resolved: the program is text
 * and lies in no folder of its own.
 */

/** The names and shapes that a session was last run with, by RunNames.slot. */
interface KnownNames {
  readonly names: RunNames
  shapes: Shapes
}

interface HeldSession {
  readonly inner: OrtSession
  readonly slots: KnownNames[]
}

/** A buffer up to this many bytes is copied: handing it over costs more. */
const COPIED_BYTES = 8192

const port = parentPort
const { runtimePath, flags } = workerData as WorkerData
const sessions = new Map<number, HeldSession>()
const residents = new Map<number, ResidentArray>()
let sessionCount = 0
let runtime: OrtModule | undefined

// The runtime puts every call behind a setImmediate, to let the event loop breathe: here nothing else waits.
globalThis.setImmediate = ((step: () => void) => step()) as unknown as typeof setImmediate

type Handlers = {
  readonly [K in OperationName]: (
    ort: OrtModule,
    asked: Operations[K]['asked'],
  ) => Operations[K]['answered'] | Promise<Operations[K]['answered']>
}

const handlers: Handlers = {
  version: (ort) => ort.env.versions.node ?? 'unknown',
  async create(ort, { model, settings }): Promise<Loaded> {
    const inner = await ort.InferenceSession.create(model, settings)
    const session = sessionCount++
    sessions.set(session, { inner, slots: [] })
    return { session, inputNames: [...inner.inputNames], outputNames: [...inner.outputNames] }
  },
  async run(ort, asked) {
    const { inner, slots } = found(sessions, asked.session)
    const { names, shapes } = namesOf(slots, asked)
    const { feeds, numbers } = asked
    const given: Parameters<OrtSession['run']>[0] = {}
    for (let i = 0; i < feeds.length; i++) {
      const [dtype, dims] = [shapes[2 * i] as DType, shapes[2 * i + 1] as readonly number[]]
      given[names.feeds[i]] = toOrtTensor(ort, dtype, dims, feeds[i])
    }
    const held = names.residents.length
    for (let i = 0; i < held; i++) given[names.residents[i]] = found(residents, numbers[i]).tensor
    const results = await inner.run(given, names.outputs)
    // All are checked before any is written: a run that is refused changes nothing.
    const inserts = names.inserts.map((name, i) => {
      const [into, at] = [found(residents, numbers[held + 2 * i]), numbers[held + 2 * i + 1]]
      return { into, at, name, count: into.checkInsert(name, results[name], at) }
    })
    for (const { into, at, name, count } of inserts)
      into.insert(results[name].data as Float32Array, count, at)
    const out: (DType | readonly number[] | TensorData)[] = []
    for (const name of names.fetches) {
      const { dtype, dims, data } = fromOrt(results[name])
      out.push(dtype, dims, data)
    }
    return out
  },
  async dispose(_ort, { session }) {
    await found(sessions, session).inner.release()
    sessions.delete(session)
  },
  allocate(ort, { resident, rows, capacity, columns }) {
    const dims: ResidentDims = [rows, capacity, columns]
    residents.set(resident, new ResidentArray(ort, dims))
  },
  grow: (_ort, { resident, capacity }) => found(residents, resident).grow(capacity),
  read: (_ort, { resident, from, to }) => found(residents, resident).read(from, to),
  write: (_ort, { resident, at, n, data }) => found(residents, resident).insert(data, n, at),
  free(_ort, { resident }) {
    residents.delete(resident)
  },
}

function found<T>(held: ReadonlyMap<number, T>, id: number): T {
  const one = held.get(id)
  if (one === undefined) throw new Error(`the worker holds no session or resident ${id}`)
  return one
}

/** Names and shapes come only where they are not those that the slot was last run with. */
function namesOf(slots: KnownNames[], { slot, names, shapes }: Operations['run']['asked']): KnownNames {
  if (names !== undefined && shapes !== undefined) slots[slot] = { names, shapes }
  else if (shapes !== undefined) slots[slot].shapes = shapes
  return slots[slot]
}

/** The buffers of an answer that are handed over and not copied. */
function buffersOf(value: unknown): ArrayBuffer[] {
  if (ArrayBuffer.isView(value)) return [value.buffer as ArrayBuffer]
  if (!Array.isArray(value)) return []
  const buffers = new Set<ArrayBuffer>()
  for (const part of value) {
    if (ArrayBuffer.isView(part) && part.byteLength > COPIED_BYTES) buffers.add(part.buffer as ArrayBuffer)
  }
  return [...buffers]
}

function handle<K extends OperationName>(ort: OrtModule, { op, body }: Question<K>) {
  return handlers[op](ort, body)
}

function post(answer: Answer, buffers: ArrayBuffer[] = []): void {
  port?.postMessage(answer, buffers)
}

async function answer(id: number, question: Question<OperationName>): Promise<void> {
  Atomics.store(flags, 0, 1)
  try {
    if (Atomics.load(flags, 1) === 1) return
    runtime ??= createRequire(runtimePath)(runtimePath) as OrtModule
    const value = await handle(runtime, question)
    post({ id, value }, buffersOf(value))
  } catch (error) {
    const problem = error instanceof InputError ? error.problem : undefined
    post({ id, error: error instanceof Error ? error.message : String(error), problem })
  } finally {
    Atomics.store(flags, 0, 0)
    Atomics.notify(flags, 0)
  }
}

let queue = Promise.resolve()
port?.on('message', (message: ({ id: number } & Question<OperationName>) | 'quit') => {
  queue = queue.then(() => (message === 'quit' ? port.close() : answer(message.id, message)))
})
