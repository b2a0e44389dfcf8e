/**
 * What runs inside a worker, as CommonJS text. It imports nothing but onnxruntime-node, by the path its
 * parent resolved. One question at a time is answered, in order; outputs' buffers are transferred.
 * `flags` is shared with the parent: [0] is 1 inside native code, [1] asks to start nothing more.
 */
export const workerSource = `
'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const sessions = new Map()
const { runtimePath, flags } = workerData
let count = 0

const operations = {
  version: (ort) => ort.env.versions.node ?? 'unknown',
  async create(ort, { model, settings }) {
    const session = await ort.InferenceSession.create(model, settings)
    const id = count++
    sessions.set(id, session)
    return { session: id, inputNames: [...session.inputNames], outputNames: [...session.outputNames] }
  },
  async run(ort, { session, feeds, fetches }) {
    const inner = sessions.get(session)
    const given = {}
    for (const [name, { dtype, data, dims }] of Object.entries(feeds)) {
      given[name] = new ort.Tensor(dtype, data, dims)
      // As in convert.ts: the native binding wants float16 as raw bits, also where Node has Float16Array.
      if (dtype === 'float16' && given[name].data !== data) Object.defineProperty(given[name], 'cpuData', { value: data })
    }
    const results = await inner.run(given, fetches)
    const out = {}
    for (const name of fetches) {
      const { type, dims, data } = results[name]
      const bits = type === 'float16' && !(data instanceof Uint16Array)
      out[name] = { dtype: type, dims: [...dims], data: bits ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data }
    }
    return out
  },
  async dispose(ort, { session }) {
    await sessions.get(session).release()
    sessions.delete(session)
  },
}

async function answer({ id, op, ...body }) {
  Atomics.store(flags, 0, 1)
  try {
    if (Atomics.load(flags, 1) === 1) return
    const value = await operations[op](require(runtimePath), body)
    const transfer = op === 'run' ? [...new Set(Object.values(value).map(({ data }) => data.buffer))] : []
    parentPort.postMessage({ id, value }, transfer)
  } catch (error) {
    parentPort.postMessage({ id, error: error instanceof Error ? error.message : String(error) })
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
