import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { itShared, sharedPath } from '../../shared.ts'
import { llamaConfig } from './directories.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-foreign-model-'))
afterAll(() => rmSync(root, { recursive: true }))

const LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:11\nsize 269060552\n'
const config = JSON.stringify(llamaConfig)
let folders = 0

/** Writes a folder of files and opens it, or one file in it. */
function opening(files: Record<string, string | Buffer>, name = ''): () => unknown {
  const folder = join(root, String(folders++))
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), content)
  }
  return () => openPretrained(join(folder, name))
}

describe('what is no model that runs is named for what it is', () => {
  it.each<[string, () => unknown, RegExp]>([
    [
      'a Git LFS pointer',
      opening({ 'config.json': config, 'model.safetensors': LFS }),
      /Git LFS[^]*lfs pull/,
    ],
    [
      'pickles',
      opening({ 'config.json': config, 'pytorch_model.bin': 'PK' }),
      /pytorch_model\.bin only: PyTorch/,
    ],
    [
      'pickles in shards',
      opening({ 'config.json': config, 'pytorch_model.bin.index.json': '{}' }),
      /pytorch_model\.bin\.index\.json only[^]*safetensors/,
    ],
    ['a folder of GGUF', opening({ 'tiny.gguf': 'GGUF' }), /tiny\.gguf only: GGUF/],
    ['a GGUF file', opening({ 'tiny.gguf': 'GGUF' }, 'tiny.gguf'), /a GGUF model[^]*Hugging Face directory/],
    [
      'an adapter',
      opening({ 'adapter_config.json': '{}', 'adapter_model.safetensors': '' }),
      /adapter \(LoRA\)/,
    ],
    [
      "Meta's own form",
      opening({ 'params.json': '{}', 'consolidated.00.pth': 'PK' }),
      /consolidated\.00\.pth/,
    ],
    ["one of Meta's files", opening({ 'consolidated.00.pth': 'PK' }, 'consolidated.00.pth'), /PyTorch/],
    ['no model_type', opening({ 'config.json': '{"n_layer":2}' }), /model_type[^]*gpt2, llama, mistral/],
  ])('%s', (_, open, message) => {
    expect(open).toThrow(InputError)
    expect(open).toThrow(message)
  })

  const cases = 'cases/models'
  itShared('the field cases', [cases], () => {
    const expected: Record<string, RegExp> = {
      'm20-lfs-pointer': /Git LFS/,
      'm21-pytorch-bin': /pytorch_model\.bin/,
      'm21b-pytorch-bin-sharded': /pytorch_model\.bin\.index\.json/,
      'm22-gguf': /GGUF/,
      'm22-gguf/tinyllama-q4_k_m.gguf': /GGUF/,
      'm23-adapter': /adapter/,
      'm24-meta': /consolidated\.00\.pth/,
      'm25-tokenizer-lfs': /tokenizer\.json[^]*Git LFS/,
      'm31-no-model-type': /model_type/,
    }
    for (const [name, message] of Object.entries(expected)) {
      expect(() => openPretrained(sharedPath(join(cases, name))), name).toThrow(message)
    }
  })
})
