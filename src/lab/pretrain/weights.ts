import type { WeightSource } from '../../model/graphs/source.ts'
import type { LmHeadWeights } from '../../model/graphs/weights.ts'
import { parameterOf } from '../../core/onnx/parameters.ts'
import { networkLayout } from './network.ts'
import type { Network } from './network.ts'

/** The weights in a flat parameter vector (networkLayout), copied on demand. */
export function sourceOf({ model, exitLayers }: Network, parameters: Float32Array): WeightSource {
  const layout = networkLayout({ model, exitLayers })
  const get = (name: string): Float32Array => parameterOf(layout, parameters, name)
  const head = (layer: number): LmHeadWeights => ({
    normScale: get(`headNorm.${layer}`),
    normBias: null,
    matrix: get('embedding'),
  })
  const { heads, kvHeads, headDim, ffnWidth } = model
  return {
    model,
    exitLayers,
    embedding: () => ({ tokens: get('embedding'), positions: null }),
    attention: (layer) => {
      const widths = [heads * headDim, kvHeads * headDim, kvHeads * headDim]
      const [query, key, value] = columns(get(`${layer}.queryKeyValue`), widths)
      return {
        units: kvHeads,
        normScale: get(`${layer}.attentionNorm`),
        query,
        key,
        value,
        output: get(`${layer}.output`),
        normBias: null,
        queryBias: null,
        keyBias: null,
        valueBias: null,
        outputBias: null,
      }
    },
    ffn: (layer) => {
      const [gate, first] = columns(get(`${layer}.gateFirst`), [ffnWidth, ffnWidth])
      return {
        normScale: get(`${layer}.ffnNorm`),
        gate,
        first,
        second: get(`${layer}.second`),
        normBias: null,
        firstBias: null,
        secondBias: null,
      }
    },
    head: () => head(model.layers),
    exitHead: (layer) => {
      if (exitLayers.includes(layer)) return head(layer)
      throw new RangeError(`exit layer: expected one of ${exitLayers.join(', ')}, found ${layer}`)
    },
  }
}

/** The flat parameter vector of a source: the inverse of `sourceOf`, for a model with tied heads read from disk. */
export function parametersOf(source: WeightSource): Float32Array {
  const { model, exitLayers } = source
  const layout = networkLayout({ model, exitLayers })
  const flat = new Float32Array(layout.size)
  const put = (name: string, values: Float32Array) => parameterOf(layout, flat, name).set(values)
  put('embedding', source.embedding().tokens)
  for (let layer = 0; layer < model.layers; layer++) {
    const { query, key, value, output, normScale } = source.attention(layer)
    const { gate, first, second, normScale: ffnScale } = source.ffn(layer)
    put(`${layer}.queryKeyValue`, joined([query, key, value], model.width))
    put(`${layer}.output`, output)
    put(`${layer}.gateFirst`, joined([gate!, first], model.width))
    put(`${layer}.second`, second)
    put(`${layer}.attentionNorm`, normScale)
    put(`${layer}.ffnNorm`, ffnScale)
  }
  for (const layer of exitLayers) put(`headNorm.${layer}`, source.exitHead(layer).normScale)
  put(`headNorm.${model.layers}`, source.head().normScale)
  return flat
}

/** Splits a matrix [rows, sum of widths] into blocks of columns, [rows, width] each. */
function columns(matrix: Float32Array, widths: readonly number[]): Float32Array[] {
  const stride = widths.reduce((sum, width) => sum + width, 0)
  const rows = matrix.length / stride
  let from = 0
  return widths.map((width) => {
    const out = new Float32Array(rows * width)
    for (let row = 0; row < rows; row++)
      out.set(matrix.subarray(row * stride + from, row * stride + from + width), row * width)
    from += width
    return out
  })
}

/** The inverse of `columns`. */
function joined(blocks: readonly Float32Array[], rows: number): Float32Array {
  const widths = blocks.map((block) => block.length / rows)
  const stride = widths.reduce((sum, width) => sum + width, 0)
  const out = new Float32Array(rows * stride)
  for (let row = 0; row < rows; row++) {
    let at = row * stride
    blocks.forEach((block, i) => {
      out.set(block.subarray(row * widths[i], (row + 1) * widths[i]), at)
      at += widths[i]
    })
  }
  return out
}
