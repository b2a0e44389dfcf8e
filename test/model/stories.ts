import { readFileSync } from 'node:fs'
import type { ModelSpec } from '../../src/model/spec.ts'
import type { AttentionWeights, FfnWeights } from '../../src/model/weights.ts'

/**
 * llama2.c's "version 0" checkpoint: seven int32 (dim, hidden, layers, heads, kvHeads, vocabulary, seqLen), then float32
 * tensors, each for all layers; matrices are [out, in], rotary pairs are neighbours (2i, 2i + 1).
 */
export interface Stories {
  readonly model: ModelSpec
  readonly embedding: Float32Array
  readonly attention: readonly AttentionWeights[]
  readonly ffn: readonly FfnWeights[]
  readonly finalScale: Float32Array
}

export function readStories(path: string): Stories {
  const file = readFileSync(path)
  const bytes = file.buffer.slice(file.byteOffset, file.byteOffset + file.byteLength)
  const [width, ffnWidth, layers, heads, kvHeads, vocabulary, contextTokens] = new Int32Array(bytes, 0, 7)
  const headDim = width / heads
  const model: ModelSpec = {
    ...{ id: 'stories260K', family: 'llama', layers, width, heads, kvHeads, headDim, ffnWidth },
    ...{ vocabulary, contextTokens, tiedHead: true },
  }
  const floats = new Float32Array(bytes, 28)
  let at = 0
  const take = (size: number) => floats.subarray(at, (at += size))
  const perLayer = (size: number) => Array.from({ length: layers }, () => take(size))
  const narrow = kvHeads * headDim
  const embedding = take(vocabulary * width)
  const attentionScale = perLayer(width)
  const query = perLayer(width * width)
  const key = perLayer(narrow * width)
  const value = perLayer(narrow * width)
  const output = perLayer(width * width)
  const ffnScale = perLayer(width)
  const gate = perLayer(ffnWidth * width)
  const second = perLayer(width * ffnWidth)
  const first = perLayer(ffnWidth * width)
  const finalScale = take(width)
  const noBias = { queryBias: null, keyBias: null, valueBias: null, outputBias: null }
  return {
    model,
    embedding,
    finalScale,
    attention: attentionScale.map((normScale, l) => ({
      ...{ units: kvHeads, normScale, normBias: null, ...noBias },
      query: transpose(halves(query[l], width, headDim), width, width),
      key: transpose(halves(key[l], width, headDim), narrow, width),
      value: transpose(value[l], narrow, width),
      output: transpose(output[l], width, width),
    })),
    ffn: ffnScale.map((normScale, l) => ({
      ...{ normScale, normBias: null, firstBias: null, secondBias: null },
      first: transpose(first[l], ffnWidth, width),
      gate: transpose(gate[l], ffnWidth, width),
      second: transpose(second[l], width, ffnWidth),
    })),
  }
}

function transpose(matrix: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(matrix.length)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = matrix[r * columns + c]
  return out
}

/** Rows of each head from neighbouring pairs to halves: row 2i to i, row 2i + 1 to i + headDim / 2. */
function halves(matrix: Float32Array, columns: number, headDim: number): Float32Array {
  const out = new Float32Array(matrix.length)
  for (let row = 0; row < matrix.length / columns; row++) {
    const inHead = row % headDim
    const target = row - inHead + (inHead >> 1) + (inHead % 2) * (headDim / 2)
    out.set(matrix.subarray(row * columns, (row + 1) * columns), target * columns)
  }
  return out
}

/** Pieces of llama2.c's tokenizer file: int32 longest piece, then (float32 score, int32 length, bytes) each; `<0x0A>` is a byte. */
export function readPieces(path: string, count: number): Buffer[] {
  const file = readFileSync(path)
  const pieces: Buffer[] = []
  let at = 4
  for (let i = 0; i < count; i++) {
    const length = file.readInt32LE(at + 4)
    const piece = file.subarray(at + 8, at + 8 + length)
    const raw = /^<0x([0-9A-F]{2})>$/.exec(piece.toString('latin1'))
    pieces.push(raw === null ? piece : Buffer.from(raw[1], 'hex'))
    at += 8 + length
  }
  return pieces
}
