import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import type { Engine } from '../../../src/core/engine/types.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import { GraphBuilder } from '../../../src/core/onnx/builder.ts'
import { tensorOf } from '../../../src/core/onnx/tensor.ts'
import { saveModel } from '../onnx/modelFile.ts'

const width = 64
let folder: string
let file: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'engine-'))
  file = join(folder, 'model.onnx')
  const g = new GraphBuilder('external')
  const weights = tensorOf('float32', [width, width], new Float32Array(width * width).fill(0.5))
  g.output(g.matmul(g.input('x', 'float32', [1, width]), g.initializer('w', weights)), 'y')
  saveModel(file, g.toModel(), { externalFromBytes: 1024 })
})
afterAll(() => {
  rmSync(folder, { recursive: true })
})
const x = tensorOf('float32', [1, width], new Float32Array(width).fill(1))

describe.each(['native', 'worker', 'wasm'] as const)('%s', (kind) => {
  let engine: Engine
  beforeAll(async () => {
    engine = await openEngine(kind)
  })
  afterAll(() => engine.close())

  test.each([true, false])(
    'finds external weights beside a path and in a folder, prepacking %s',
    async (prepacking) => {
      const bytes = new Uint8Array(readFileSync(file))
      const sessions = [
        await engine.create(file, { prepacking }),
        await engine.create(bytes, { prepacking, externalFolder: folder }),
        await engine.create(bytes, { prepacking, externalFolder: folder }),
      ]
      for (const session of sessions) {
        expect((await session.run({ x })).y.data).toEqual(new Float32Array(width).fill(width / 2))
      }
    },
  )

  test('refuses a folder beside a path, and data that is absent or outside the folder', async () => {
    const bytes = new Uint8Array(readFileSync(file))
    await expect(engine.create(file, { externalFolder: folder })).rejects.toThrow(InputError)
    await expect(engine.create(bytes, { externalFolder: tmpdir() })).rejects.toThrow(InputError)
    const outside = Buffer.from(bytes).toString('latin1').replace('model.onnx.data', '../a/model.data')
    const changed = new Uint8Array(Buffer.from(outside, 'latin1'))
    await expect(engine.create(changed, { externalFolder: folder })).rejects.toThrow(InputError)
  })
})
