import type { ModelSpec } from '../spec.ts'
import type { WeightSource } from '../graphs/source.ts'
import { readTensor } from './tensorFile.ts'
import type { TensorStore } from './tensorFile.ts'

/**
 * Early-exit heads lie in `exits.safetensors` beside the model (this project's extension of the Hugging Face layout):
 * `exits.<layer>.norm.weight` [width], for GPT-2 `exits.<layer>.norm.bias`, and `exits.<layer>.head.weight`
 * [vocabulary, width]; without the latter the exit uses the embedding's matrix.
 */
export const EXITS_FILE = 'exits.safetensors'

export const exitNames = (layer: number) => ({
  scale: `exits.${layer}.norm.weight`,
  bias: `exits.${layer}.norm.bias`,
  matrix: `exits.${layer}.head.weight`,
})

/** Tensors that the exits must or may have. */
export function exitDims(model: ModelSpec, store: TensorStore, exitLayers: readonly number[]) {
  return exitLayers.flatMap((layer) => {
    const names = exitNames(layer)
    const dims: [name: string, dims: number[]][] = [[names.scale, [model.width]]]
    if (model.family === 'gpt2') dims.push([names.bias, [model.width]])
    if (store.entries.has(names.matrix)) dims.push([names.matrix, [model.vocabulary, model.width]])
    return dims
  })
}

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
