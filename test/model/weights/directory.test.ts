import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { openPretrained } from '../../../src/model/weights/open.ts'
import { maxDifference } from '../support.ts'
import {
  gpt2Config,
  gpt2Tensors,
  llamaConfig,
  llamaTensors,
  writeDirectory,
  writeSharded,
} from './directories.ts'
import type { Tensors } from './directories.ts'
import { WholeModel } from './greedy.ts'
import { gpt2Logits, llamaLogits } from './reference.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-hf-'))
afterAll(() => rmSync(root, { recursive: true }))
let folders = 0
const fresh = () => join(root, `model-${folders++}`)

const PROMPT = [5, 17, 60, 3, 3, 41, 28]
const one = (tensors: Tensors) => ({ 'model.safetensors': tensors })

/** Logits of the prompt in one go, and then of two more tokens against the cache. */
async function logitsOf(folder: string): Promise<Float32Array> {
  const whole = await WholeModel.open(openPretrained(folder).source, 16)
  await whole.feed(PROMPT.slice(0, 5))
  await whole.feed(PROMPT.slice(5, 6))
  const logits = await whole.feed(PROMPT.slice(6))
  await whole.close()
  return logits
}

describe('a LLaMA-shaped directory', () => {
  test.each([
    ['grouped queries', llamaConfig],
    ['every head its own keys and values', { ...llamaConfig, num_key_value_heads: 6 }],
    ['one K/V head for all', { ...llamaConfig, num_key_value_heads: 1 }],
    ['heads wider than width / heads', { ...llamaConfig, head_dim: 12 }],
    ['a tied head', { ...llamaConfig, tie_word_embeddings: true }],
    ['Mistral without a window', { ...llamaConfig, model_type: 'mistral', sliding_window: null }],
  ])('computes what transformers computes: %s', async (_, config) => {
    const tensors = llamaTensors(config)
    const folder = writeDirectory(fresh(), config, one(tensors))
    expect(maxDifference(await logitsOf(folder), llamaLogits(config, tensors, PROMPT))).toBeLessThan(1e-4)
  })

  test('sharded, or without its prefix, it is the same model', async () => {
    const tensors = llamaTensors(llamaConfig)
    const whole = openPretrained(writeDirectory(fresh(), llamaConfig, one(tensors)))
    const sharded = openPretrained(writeSharded(fresh(), llamaConfig, tensors))
    const bare = Object.fromEntries(
      Object.entries(tensors).map(([name, value]) => [name.replace(/^model\./, ''), value]),
    )
    const unprefixed = openPretrained(writeDirectory(fresh(), llamaConfig, one(bare)))
    for (const other of [sharded, unprefixed]) {
      expect(other.fingerprint).toBe(whole.fingerprint)
      expect(other.source.attention(1)).toEqual(whole.source.attention(1))
      expect(other.source.ffn(0)).toEqual(whole.source.ffn(0))
      expect(other.source.head()).toEqual(whole.source.head())
    }
    tensors['model.layers.1.mlp.up_proj.weight'].data[0] += 0.5
    const changed = openPretrained(writeDirectory(fresh(), llamaConfig, one(tensors)))
    expect(changed.fingerprint).not.toBe(whole.fingerprint)
  })

  test('matrices are turned, units keep their order', () => {
    const tensors = llamaTensors(llamaConfig)
    const { source } = openPretrained(writeDirectory(fresh(), llamaConfig, one(tensors)))
    const query = tensors['model.layers.0.self_attn.q_proj.weight'].data
    const opened = source.attention(0)
    expect(opened.units).toBe(3)
    for (const [out, input] of [
      [0, 0],
      [13, 5],
      [47, 47],
      [30, 2],
    ]) {
      expect(opened.query[input * 48 + out]).toBe(query[out * 48 + input])
    }
    expect(source.head().matrix).toEqual(tensors['lm_head.weight'].data)
    expect(source.embedding()).toEqual({ tokens: tensors['model.embed_tokens.weight'].data, positions: null })
  })

  test('what ends a text stands in generation_config.json, else in config.json', () => {
    const folder = writeDirectory(fresh(), llamaConfig, one(llamaTensors(llamaConfig)))
    expect(openPretrained(folder).stopIds).toEqual([2])
    writeFileSync(join(folder, 'generation_config.json'), '{ "eos_token_id": [7, 9] }')
    expect(openPretrained(folder).stopIds).toEqual([7, 9])
    expect(openPretrained(folder).tokenizer).toBeNull()
  })
})

describe('a GPT-2-shaped directory', () => {
  test('computes what transformers computes', async () => {
    const tensors = gpt2Tensors(gpt2Config)
    const folder = writeDirectory(fresh(), gpt2Config, one(tensors))
    expect(maxDifference(await logitsOf(folder), gpt2Logits(gpt2Config, tensors, PROMPT))).toBeLessThan(1e-4)
  })

  test("sharded, without prefix and with the original's mask buffers it is the same", () => {
    const tensors = gpt2Tensors(gpt2Config)
    const whole = openPretrained(writeDirectory(fresh(), gpt2Config, one(tensors)))
    const bare = Object.fromEntries(
      Object.entries(tensors).map(([name, value]) => [name.replace(/^transformer\./, ''), value]),
    )
    bare['h.0.attn.bias'] = { dims: [1, 1, 4, 4], data: new Float32Array(16) }
    const other = openPretrained(writeSharded(fresh(), gpt2Config, bare))
    expect(other.fingerprint).toBe(whole.fingerprint)
    expect(other.source.attention(0)).toEqual(whole.source.attention(0))
    expect(whole.source.model.normEpsilon).toBe(2e-5)
  })
})

describe('what cannot be computed faithfully is refused by name', () => {
  const refuse = (config: object, tensors: Tensors, message: RegExp) => {
    const folder = writeDirectory(fresh(), config, one(tensors))
    expect(() => openPretrained(folder)).toThrow(InputError)
    expect(() => openPretrained(folder)).toThrow(message)
  }

  test.each([
    [{ model_type: 'qwen2' }, /config\.json: model_type\n.*gpt2, llama, mistral/],
    [{ rope_scaling: { type: 'linear', factor: 2 } }, /rope_scaling/],
    [{ rope_scaling: { rope_type: 'llama3', factor: 8 } }, /rope_scaling/],
    [{ rope_parameters: { rope_type: 'yarn', rope_theta: 1e4 } }, /rope_parameters/],
    [{ attention_bias: true }, /attention_bias/],
    [{ mlp_bias: true }, /mlp_bias/],
    [{ hidden_act: 'gelu' }, /hidden_act/],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
    [{ quantization_config: { bits: 4 } }, /quantization_config/],
    [{ model_type: 'mistral', sliding_window: 16 }, /sliding_window/],
    [{ num_key_value_heads: 4 }, /kvHeads/],
    [{ num_attention_heads: 7 }, /num_attention_heads/],
    [{ hidden_size: 'wide' }, /hidden_size/],
    [{ num_hidden_layers: 1e9 }, /layers/],
    [{ num_hidden_layers: 3 }, /tensor model\.layers\.2\..*\n.*\n.*no tensor/],
    [{ num_hidden_layers: 1 }, /1 layers, as configured/],
    [{ intermediate_size: 81 }, /mlp\.\w+_proj\.weight\n.*\[81, 48\]\n.*\[80, 48\]/],
    [{ edgewise: { exitLayers: [2] } }, /exitLayers/],
    [{ edgewise: { exitLayers: [1] } }, /exits\.safetensors/],
  ])('LLaMA with %j', (change, message) => {
    refuse({ ...llamaConfig, ...change }, llamaTensors(llamaConfig), message)
  })

  test.each([
    [{ activation_function: 'gelu' }, /activation_function/],
    [{ scale_attn_weights: false }, /scale_attn_weights/],
    [{ scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
    [{ add_cross_attention: true }, /add_cross_attention/],
    [{ n_inner: 100 }, /mlp\.c_fc\.weight/],
    [{ tie_word_embeddings: false }, /lm_head\.weight/],
  ])('GPT-2 with %j', (change, message) => {
    refuse({ ...gpt2Config, ...change }, gpt2Tensors(gpt2Config), message)
  })

  test('biases that LLaMA has not', () => {
    const tensors = llamaTensors(llamaConfig)
    tensors['model.layers.0.self_attn.q_proj.bias'] = { dims: [48], data: new Float32Array(48) }
    refuse(llamaConfig, tensors, /q_proj\.bias/)
  })

  test('weights in other formats, shards outside the folder, nothing at all', () => {
    const folder = writeDirectory(fresh(), llamaConfig, {})
    expect(() => openPretrained(folder)).toThrow(/model\.safetensors or/)
    writeFileSync(join(folder, 'pytorch_model.bin'), 'x')
    expect(() => openPretrained(folder)).toThrow(/pytorch_model\.bin only/)
    const index = join(folder, 'model.safetensors.index.json')
    writeFileSync(index, JSON.stringify({ weight_map: { 'model.norm.weight': '../x.safetensors' } }))
    expect(() => openPretrained(folder)).toThrow(/a relative path inside/)
    expect(() => openPretrained(join(root, 'absent'))).toThrow(InputError)
    expect(() => openPretrained('tales')).toThrow(InputError)
    writeFileSync(join(folder, 'config.json'), '['.repeat(100_000))
    expect(() => openPretrained(folder)).toThrow(InputError)
  })
})
