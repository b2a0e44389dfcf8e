import type { ModelSpec } from '../spec.ts'
import type { WeightSource } from '../graphs/source.ts'
import { readTensor } from './tensorFile.ts'
import type { TensorStore } from './tensorFile.ts'

/**
 * Early-exit heads are stored in `exits.safetensors` beside the model (this project's extension of the Hugging Face
 * layout): `exits.<layer>.norm.weight` [width], for GPT-2 `exits.<layer>.norm.bias`, and `exits.<layer>.head.weight`
 * [vocabulary, width]. Without the last one the exit uses the embedding's matrix.
 */
export const EXITS_FILE = 'exits.safetensors'

/** Tensor names of one exit. */
export const exitNames = (layer: number) => ({
  scale: `exits.${layer}.norm.weight`,
  bias: `exits.${layer}.norm.bias`,
  matrix: `exits.${layer}.head.weight`,
})

/** Names and dimensions of the exits' tensors. */
export function exitDims(model: ModelSpec, store: TensorStore, exitLayers: readonly number[]) {
  return exitLayers.flatMap((layer) => {
    const names = exitNames(layer)
    const dims: [name: string, dims: number[]][] = [[names.scale, [model.width]]]
    if (model.family === 'gpt2') dims.push([names.bias, [model.width]])
    if (store.entries.has(names.matrix)) dims.push([names.matrix, [model.vocabulary, model.width]])
    return dims
  })
}

/** Reads the heads of the exits. */
export function exitHeads(
  model: ModelSpec,
  store: TensorStore | null,
  exitLayers: readonly number[],
  tokens: () => Float32Array,
): Pick<WeightSource, 'exitLayers' | 'exitHead'> {
  return {
    exitLayers,
    exitHead: (layer) => {
      if (store === null || !exitLayers.includes(layer)) {
        throw new RangeError(`exit layer: expected one of ${exitLayers.join(', ')}, found ${layer}`)
      }
      const names = exitNames(layer)
      const own = store.entries.has(names.matrix)
      return {
        normScale: readTensor(store, names.scale, [model.width]),
        normBias: model.family === 'gpt2' ? readTensor(store, names.bias, [model.width]) : null,
        matrix: own ? readTensor(store, names.matrix, [model.vocabulary, model.width]) : tokens(),
      }
    },
  }
}
