import { expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { tensorOf } from '../../../src/core/onnx/tensor.ts'
import { EngineError } from '../../../src/core/engine/types.ts'
import { openEngine } from '../../../src/core/engine/open.ts'

/** Large products in a row: about a second of work. */
function slow(): Uint8Array {
  const g = new GraphBuilder('slow')
  const x = g.input('x', 'float32', [1024, 1024])
  let y = x
  for (let i = 0; i < 12; i++) y = g.tanh(g.matmul(y, x))
  g.output(y, 'y')
  return g.serialize()
}

function quick(): Uint8Array {
  const g = new GraphBuilder('quick')
  g.output(g.mul(g.input('x', 'float32', [2]), 2), 'y')
  return g.serialize()
}

const big = tensorOf('float32', [1024, 1024], new Float32Array(1024 * 1024).fill(0.001))
const two = tensorOf('float32', [2], [1, 2])

test('a run that takes too long ends the worker; the engine starts another', async () => {
  const engine = await openEngine('worker')
  const session = await engine.create(slow())
  const bystander = await engine.create(quick())
  await expect(session.run({ x: big }, { timeoutSeconds: 0.05 })).rejects.toThrow(/took longer than 0.05 s/)
  await expect(bystander.run({ x: two })).rejects.toThrow(EngineError)
  const fresh = await engine.create(quick())
  expect(Array.from((await fresh.run({ x: two }, { timeoutSeconds: 60 })).y.data as Float32Array)).toEqual([
    2, 4,
  ])
  await engine.close()
})

test('the event loop runs on while the worker computes; closing refuses what is pending', async () => {
  const engine = await openEngine('worker')
  const session = await engine.create(slow())
  let refused: unknown
  const runs = [1, 2].map(() => session.run({ x: big }).catch((error: unknown) => (refused = error)))
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setTimeout(resolve, 1))
  expect(refused).toBeUndefined()
  const closing = engine.close()
  await Promise.all(runs)
  expect(refused).toBeInstanceOf(EngineError)
  await closing
})

test('buffers are handed over only when asked', async () => {
  const engine = await openEngine('worker')
  const session = await engine.create(quick())
  const x = tensorOf('float32', [2], [3, 4])
  await session.run({ x })
  expect(x.data.length).toBe(2)
  const { y } = await session.run({ x }, { transferFeeds: true })
  expect(x.data.length).toBe(0)
  expect(Array.from(y.data as Float32Array)).toEqual([6, 8])
  await engine.close()
})

test('engines that cannot give up on a run say so', async () => {
  const engine = await openEngine('native')
  const session = await engine.create(quick())
  await expect(session.run({ x: two }, { timeoutSeconds: 1 })).rejects.toThrow(InputError)
  await engine.close()
})

test('auto takes the native engine where its binary loads', async () => {
  const engine = await openEngine()
  expect(engine.info.kind).toBe('native')
  await engine.close()
})
