import type { gpt2Config, llamaConfig, Tensors } from './directories.ts'

/**
 * Both families' forward passes written from transformers' modeling_llama.py and modeling_gpt2.py, in double
 * precision and in Hugging Face's own layouts: no code of src. Rows are tokens; gives the last one's logits.
 */

type Row = Float64Array
type Rows = Row[]

export function llamaLogits(
  config: typeof llamaConfig & { head_dim?: number },
  w: Tensors,
  ids: readonly number[],
): Row {
  const { hidden_size: d, num_attention_heads: heads, num_key_value_heads: groups, rms_norm_eps } = config
  const headDim = config.head_dim ?? d / heads
  const linear = (x: Rows, name: string) => x.map((row) => timesTransposed(row, w[name].data))
  const rms = (x: Rows, name: string) =>
    x.map((row) => {
      const mean = row.reduce((sum, value) => sum + value * value, 0) / d
      return row.map((value, i) => (value / Math.sqrt(mean + rms_norm_eps)) * w[name].data[i])
    })
  let x = ids.map((id) => rowOf(w['model.embed_tokens.weight'].data, id, d))
  for (let l = 0; l < config.num_hidden_layers; l++) {
    const p = `model.layers.${l}`
    const normed = rms(x, `${p}.input_layernorm.weight`)
    const rope = (rows: Rows) => rows.map((row, t) => rotary(row, t, headDim, config.rope_theta))
    const q = rope(linear(normed, `${p}.self_attn.q_proj.weight`))
    const k = repeatKv(rope(linear(normed, `${p}.self_attn.k_proj.weight`)), headDim, heads / groups)
    const v = repeatKv(linear(normed, `${p}.self_attn.v_proj.weight`), headDim, heads / groups)
    x = plus(x, linear(causal(q, k, v, headDim), `${p}.self_attn.o_proj.weight`))
    const inner = rms(x, `${p}.post_attention_layernorm.weight`)
    const gate = linear(inner, `${p}.mlp.gate_proj.weight`)
    const up = linear(inner, `${p}.mlp.up_proj.weight`)
    const hidden = gate.map((row, t) => row.map((value, i) => (value / (1 + Math.exp(-value))) * up[t][i]))
    x = plus(x, linear(hidden, `${p}.mlp.down_proj.weight`))
  }
  const head = config.tie_word_embeddings ? 'model.embed_tokens.weight' : 'lm_head.weight'
  return linear(rms(x, 'model.norm.weight'), head)[ids.length - 1]
}

export function gpt2Logits(config: typeof gpt2Config, w: Tensors, ids: readonly number[]): Row {
  const { n_embd: d, n_head: heads, layer_norm_epsilon } = config
  const headDim = d / heads
  const conv = (x: Rows, name: string) =>
    x.map((row) => times(row, w[`${name}.weight`].data, w[`${name}.bias`].data))
  const norm = (x: Rows, name: string) =>
    x.map((row) => {
      const mean = row.reduce((sum, value) => sum + value, 0) / d
      const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / d
      const scale = w[`${name}.weight`].data
      const shift = w[`${name}.bias`].data
      return row.map(
        (value, i) => ((value - mean) / Math.sqrt(variance + layer_norm_epsilon)) * scale[i] + shift[i],
      )
    })
  const wte = w['transformer.wte.weight'].data
  let x = plus(
    ids.map((id) => rowOf(wte, id, d)),
    ids.map((_, t) => rowOf(w['transformer.wpe.weight'].data, t, d)),
  )
  for (let l = 0; l < config.n_layer; l++) {
    const p = `transformer.h.${l}`
    const fused = conv(norm(x, `${p}.ln_1`), `${p}.attn.c_attn`)
    const [q, k, v] = [0, 1, 2].map((third) => fused.map((row) => row.slice(third * d, (third + 1) * d)))
    x = plus(x, conv(causal(q, k, v, headDim), `${p}.attn.c_proj`))
    const hidden = conv(norm(x, `${p}.ln_2`), `${p}.mlp.c_fc`).map((row) => row.map(geluNew))
    x = plus(x, conv(hidden, `${p}.mlp.c_proj`))
  }
  return timesTransposed(norm(x, 'transformer.ln_f')[ids.length - 1], wte)
}

function geluNew(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
}

function rowOf(matrix: Float32Array, row: number, width: number): Row {
  return Float64Array.from(matrix.subarray(row * width, (row + 1) * width))
}

function plus(a: Rows, b: Rows): Rows {
  return a.map((row, t) => row.map((value, i) => value + b[t][i]))
}

/** nn.Linear: W is [out, in]. */
function timesTransposed(row: Row, matrix: Float32Array): Row {
  return Float64Array.from({ length: matrix.length / row.length }, (_, o) =>
    row.reduce((sum, value, i) => sum + value * matrix[o * row.length + i], 0),
  )
}

/** Conv1D: W is [in, out]. */
function times(row: Row, matrix: Float32Array, bias: Float32Array): Row {
  return Float64Array.from(bias, (start, o) =>
    row.reduce((sum, value, i) => sum + value * matrix[i * bias.length + o], start),
  )
}

/** q * cos + rotate_half(q) * sin, head by head. */
function rotary(row: Row, position: number, headDim: number, theta: number): Row {
  const half = headDim / 2
  return row.map((value, i) => {
    const place = i % headDim
    const angle = position / theta ** ((2 * (place % half)) / headDim)
    const turned = place < half ? -row[i + half] : row[i - half]
    return value * Math.cos(angle) + turned * Math.sin(angle)
  })
}

/** Each K/V head `times` times in a row. */
function repeatKv(rows: Rows, headDim: number, repeats: number): Rows {
  return rows.map((row) =>
    Float64Array.from({ length: row.length * repeats }, (_, i) => {
      const head = Math.floor(i / headDim / repeats)
      return row[head * headDim + (i % headDim)]
    }),
  )
}

function causal(q: Rows, k: Rows, v: Rows, headDim: number): Rows {
  return q.map((row, t) => {
    const out = new Float64Array(row.length)
    for (let start = 0; start < row.length; start += headDim) {
      const scores = Array.from({ length: t + 1 }, (_, s) => {
        let sum = 0
        for (let i = start; i < start + headDim; i++) sum += row[i] * k[s][i]
        return Math.exp(sum / Math.sqrt(headDim))
      })
      const total = scores.reduce((a, b) => a + b, 0)
      for (const [s, score] of scores.entries())
        for (let i = start; i < start + headDim; i++) out[i] += (score / total) * v[s][i]
    }
    return out
  })
}
