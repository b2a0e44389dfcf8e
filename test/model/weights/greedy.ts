import { openEngine } from '../../../src/core/engine/open.ts'
import type { Session } from '../../../src/core/engine/types.ts'
import { buildSubgraph } from '../../../src/model/graphs/subgraph.ts'
import { subgraphTensorNames } from '../../../src/model/graphs/subgraphTypes.ts'
import type { SubgraphPart } from '../../../src/model/graphs/subgraphTypes.ts'
import type { WeightSource } from '../../../src/model/graphs/source.ts'
import type { ModelSpec } from '../../../src/model/spec.ts'
import { tensor } from '../../../src/core/onnx/tensor.ts'

/** All of a model as one segment on the native engine: ids in, logits of the last one out, caches kept by hand. */
export class WholeModel {
  private readonly model: ModelSpec
  private readonly session: Session
  private readonly capacity: number
  private readonly caches = new Map<string, { fresh: string; data: Float32Array }>()
  private position = 0
  readonly close: () => Promise<void>

  private constructor(model: ModelSpec, session: Session, capacity: number, close: () => Promise<void>) {
    this.model = model
    this.session = session
    this.capacity = capacity
    this.close = close
    const cache = () => new Float32Array(model.kvHeads * capacity * model.headDim)
    for (let l = 0; l < model.layers; l++) {
      this.caches.set(subgraphTensorNames.keys(l, 0, 1), {
        fresh: subgraphTensorNames.newKeys(l, 0, 1),
        data: cache(),
      })
      this.caches.set(subgraphTensorNames.values(l, 0, 1), {
        fresh: subgraphTensorNames.newValues(l, 0, 1),
        data: cache(),
      })
    }
  }

  static async open(source: WeightSource, capacity: number): Promise<WholeModel> {
    const { model } = source
    const units = Array.from({ length: model.kvHeads }, (_, u) => u)
    const layers = Array.from({ length: model.layers }, (_, layer): SubgraphPart[] => [
      { kind: 'attention', layer, units, residual: true },
      { kind: 'ffn', layer, part: 'whole' },
    ])
    const parts: SubgraphPart[] = [{ kind: 'embed' }, ...layers.flat(), { kind: 'head' }]
    const engine = await openEngine('native')
    const session = await engine.create(buildSubgraph(source, { input: 'ids', parts }).serialize())
    return new WholeModel(model, session, capacity, () => engine.close())
  }

  /** Logits after `ids`, which come after all that were fed before. */
  async feed(ids: readonly number[]): Promise<Float32Array> {
    const { headDim, kvHeads } = this.model
    const { capacity, position } = this
    const count = ids.length
    const integers = (values: readonly number[]) =>
      tensor(
        'int64',
        [count],
        BigInt64Array.from(values, (value) => BigInt(value)),
      )
    const mask = Float32Array.from({ length: capacity }, (_, i) => (i < position ? 0 : -Infinity))
    const caches = [...this.caches].map(([name, { data }]) => [
      name,
      tensor('float32', [kvHeads, capacity, headDim], data),
    ])
    const out = await this.session.run({
      ids: integers(ids),
      positions: integers(ids.map((_, i) => position + i)),
      mask: tensor('float32', [1, capacity], mask),
      ...Object.fromEntries(caches),
    })
    for (const { fresh, data } of this.caches.values()) {
      const added = out[fresh].data as Float32Array
      for (let unit = 0; unit < kvHeads; unit++) {
        const rows = added.subarray(unit * count * headDim, (unit + 1) * count * headDim)
        data.set(rows, (unit * capacity + position) * headDim)
      }
    }
    this.position += count
    return out.logits.data as Float32Array
  }
}

/** `steps` tokens after a prompt, each the likeliest. */
export async function greedy(
  source: WeightSource,
  prompt: readonly number[],
  steps: number,
): Promise<number[]> {
  const whole = await WholeModel.open(source, prompt.length + steps)
  const tokens: number[] = []
  let next = [...prompt]
  while (tokens.length < steps) {
    const logits = await whole.feed(next)
    next = [logits.indexOf(logits.reduce((a, b) => Math.max(a, b)))]
    tokens.push(next[0])
  }
  await whole.close()
  return tokens
}
