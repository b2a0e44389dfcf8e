/**
 * What runs inside a worker, as CommonJS text. It imports nothing but onnxruntime-node, by the path its
 * parent resolved. One question at a time is answered, in order; outputs' buffers are transferred.
 * `flags` is shared with the parent: [0] is 1 inside native code, [1] asks to start nothing more.
 */
export const workerSource = `
'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const sessions = new Map()
const residents = new Map()
const { runtimePath, flags } = workerData
let count = 0
let runtime

// The runtime puts every call behind a setImmediate, to let the event loop breathe: here nothing else waits.
globalThis.setImmediate = (step) => step()

const operations = {
  version: (ort) => ort.env.versions.node ?? 'unknown',
  async create(ort, { model, settings }) {
    const inner = await ort.InferenceSession.create(model, settings)
    const id = count++
    sessions.set(id, { inner, slots: [] })
    return { session: id, inputNames: [...inner.inputNames], outputNames: [...inner.outputNames] }
  },
  // names and shapes come when they are not the last ones of that slot; numbers are residents, then pairs of
  // a resident and a position.
  async run(ort, { session, slot, names, shapes, feeds, numbers }) {
    const { inner, slots } = sessions.get(session)
    if (names !== undefined) slots[slot] = { names, shapes }
    else if (shapes !== undefined) slots[slot].shapes = shapes
    const { names: said, shapes: as } = slots[slot]
    const given = {}
    for (let i = 0; i < feeds.length; i++) given[said.feeds[i]] = toOrt(ort, as[2 * i], as[2 * i + 1], feeds[i])
    const held = said.residents.length
    for (let i = 0; i < held; i++) given[said.residents[i]] = residents.get(numbers[i]).tensor
    const results = await inner.run(given, said.outputs)
    const lengths = []
    for (let i = 0; i < said.inserts.length; i++) {
      const [into, at] = [residents.get(numbers[held + 2 * i]), numbers[held + 2 * i + 1]]
      lengths.push(checkInsert(said.inserts[i], results[said.inserts[i]], into, at))
    }
    for (let i = 0; i < lengths.length; i++) {
      const [into, at] = [residents.get(numbers[held + 2 * i]), numbers[held + 2 * i + 1]]
      insert(into, results[said.inserts[i]].data, lengths[i], at)
    }
    const out = []
    for (const name of said.fetches) {
      const { type, dims, data } = results[name]
      const bits = type === 'float16' && !(data instanceof Uint16Array)
      out.push(type, dims, bits ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data)
    }
    return out
  },
  async dispose(ort, { session }) {
    await sessions.get(session).inner.release()
    sessions.delete(session)
  },
  allocate(ort, { resident, rows, capacity, columns }) {
    hold(ort, resident, { rows, capacity, columns }, new Float32Array(rows * capacity * columns))
  },
  grow(ort, { resident, capacity }) {
    const { rows, columns, data, capacity: before } = residents.get(resident)
    const span = before * columns
    const larger = new Float32Array(rows * capacity * columns)
    for (let row = 0; row < rows; row++) {
      larger.set(data.subarray(row * span, (row + 1) * span), row * capacity * columns)
    }
    hold(ort, resident, { rows, capacity, columns }, larger)
  },
  read(ort, { resident, from, to }) {
    const { rows, capacity, columns, data } = residents.get(resident)
    const span = (to - from) * columns
    const out = new Float32Array(rows * span)
    for (let row = 0; row < rows; row++) {
      const start = (row * capacity + from) * columns
      out.set(data.subarray(start, start + span), row * span)
    }
    return out
  },
  write: (ort, { resident, at, n, data }) => insert(residents.get(resident), data, n, at),
  free(ort, { resident }) {
    residents.delete(resident)
  },
}

function toOrt(ort, dtype, dims, data) {
  const value = new ort.Tensor(dtype, data, dims)
  // As in convert.ts: the native binding wants float16 as raw bits, also where Node has Float16Array.
  if (value.data !== data) Object.defineProperty(value, 'cpuData', { value: data })
  return value
}

// The runtime reads the array itself at each run, so one tensor over it serves until it grows.
function hold(ort, id, { rows, capacity, columns }, data) {
  const tensor = new ort.Tensor('float32', data, [rows, capacity, columns])
  residents.set(id, { rows, capacity, columns, data, tensor })
}

// checkInsert and insert are those of residentMemory.ts.
function checkInsert(output, { type, dims }, { rows, capacity, columns }, at) {
  const fits = type === 'float32' && dims.length === 3 && dims[0] === rows && dims[2] === columns
  if (fits && at + dims[1] <= capacity) return dims[1]
  const problem = {
    where: 'insert of ' + output + ' at ' + at,
    expected: 'float32 [' + rows + ', n, ' + columns + '], n <= ' + (capacity - at),
    found: type + ' [' + dims.join(', ') + ']',
  }
  throw Object.assign(new Error(problem.where), { problem })
}

function insert({ rows, capacity, columns, data }, value, n, at) {
  const span = n * columns
  const stride = capacity * columns
  for (let row = 0, to = at * columns, from = 0; row < rows; row++, to += stride, from += span) {
    if (span <= 128) for (let i = 0; i < span; i++) data[to + i] = value[from + i]
    else data.set(value.subarray(from, from + span), to)
  }
}

// Handing over a small buffer costs more than copying it.
function buffersOf(op, value) {
  if (op === 'read') return [value.buffer]
  if (op !== 'run') return []
  const buffers = new Set()
  for (let i = 2; i < value.length; i += 3) if (value[i].byteLength > 8192) buffers.add(value[i].buffer)
  return [...buffers]
}

async function answer({ id, op, ...body }) {
  Atomics.store(flags, 0, 1)
  try {
    if (Atomics.load(flags, 1) === 1) return
    runtime ??= require(runtimePath)
    const value = await operations[op](runtime, body)
    parentPort.postMessage({ id, value }, buffersOf(op, value))
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    parentPort.postMessage({ id, error: text, problem: error?.problem })
  } finally {
    Atomics.store(flags, 0, 0)
    Atomics.notify(flags, 0)
  }
}

let queue = Promise.resolve()
parentPort.on('message', (question) => {
  queue = queue.then(() => (question.op === 'quit' ? parentPort.close() : answer(question)))
})
`
