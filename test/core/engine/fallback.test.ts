import { expect, test, vi } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { openEngine } from '../../../src/core/engine/open.ts'

vi.mock('onnxruntime-node', () => {
  throw new Error('no binary for this platform')
})

test('auto takes WebAssembly where the native binary does not load', async () => {
  const engine = await openEngine('auto')
  expect(engine.info).toMatchObject({ kind: 'wasm', name: 'onnxruntime-web' })
  await engine.close()
})

test('asking for the native engine there says what to do', async () => {
  const attempt = openEngine('native')
  await expect(attempt).rejects.toThrow(InputError)
  await expect(attempt).rejects.toThrow(/remedy: use the 'wasm' engine/)
})
