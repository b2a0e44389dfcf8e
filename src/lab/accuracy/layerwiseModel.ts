import type { Clock } from '../../core/clock.ts'
import type { Engine, Session } from '../../core/engine/types.ts'
import { SessionCache, type SubgraphFiles } from '../../run/executor/sessionCache.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { subgraphTensorNames } from '../../model/graphs/subgraphTypes.ts'
import { attentionUnits, type ModelSpec } from '../../model/spec.ts'
import { tensor, type Tensor } from '../../core/onnx/tensor.ts'

/** Rows per call of a head, because graphs for a batch have a fixed number of rows. */
const HEAD_ROWS = 64

/** Options of a layerwise model. */
interface LayerwiseModelOptions {
  readonly engine: Engine
  readonly files: SubgraphFiles
  readonly model: ModelSpec
  readonly clock: Clock
  /** Bytes of weights that may be loaded at once. */
  readonly budgetBytes: number
}

/**
 * Runs a model one attention or FFN at a time over whole windows, without a K/V cache, so that the tensors between two
 * subgraphs can be changed as a boundary would change them. Tensors are float32 [tokens, width].
 */
export class LayerwiseModel {
  readonly model: ModelSpec
  private readonly sessions: SessionCache
  private readonly allUnits: readonly number[]

  constructor({ engine, files, model, clock, budgetBytes }: LayerwiseModelOptions) {
    this.model = model
    this.sessions = new SessionCache({ engine, files, clock, budgetBytes })
    this.allUnits = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
  }

  embed(ids: readonly number[]): Promise<Float32Array> {
    const feeds = { ids: integers(ids), positions: positions(ids.length) }
    return this.run({ input: 'ids', parts: [{ kind: 'embed' }] }, feeds, 0)
  }

  /** The residual after a layer's attention. */
  attention(layer: number, x: Float32Array): Promise<Float32Array> {
    return this.attend(layer, this.allUnits, true, x)
  }

  /** What the given units of a layer add to the residual. */
  share(layer: number, units: readonly number[], x: Float32Array): Promise<Float32Array> {
    return this.attend(layer, units, false, x)
  }

  ffn(layer: number, x: Float32Array): Promise<Float32Array> {
    return this.run({ input: 'x', parts: [{ kind: 'ffn', layer, part: 'whole' }] }, { x: this.rows(x) }, 0)
  }

  /** The residual after layers [from, model.layers). */
  async layersFrom(from: number, x: Float32Array): Promise<Float32Array> {
    let y = x
    for (let layer = from; layer < this.model.layers; layer++)
      y = await this.ffn(layer, await this.attention(layer, y))
    return y
  }

  /** Logits of every row from the model's lm_head, float32 [tokens, vocabulary]. */
  head(x: Float32Array): Promise<Float32Array> {
    return this.logits({ input: 'x', parts: [{ kind: 'head' }] }, x)
  }

  /** Logits of every row from an early exit's head. */
  exit(layer: number, x: Float32Array): Promise<Float32Array> {
    return this.logits({ input: 'x', parts: [{ kind: 'exit', layer }] }, x)
  }

  close(): Promise<void> {
    return this.sessions.close()
  }

  private attend(
    layer: number,
    units: readonly number[],
    residual: boolean,
    x: Float32Array,
  ): Promise<Float32Array> {
    const { headDim, width } = this.model
    const dims = [units.length, 1, headDim]
    const nothing = tensor('float32', dims, new Float32Array(units.length * headDim))
    const feeds = {
      x: this.rows(x),
      positions: positions(x.length / width),
      [subgraphTensorNames.mask(0, 1)]: tensor('float32', [1, 1], Float32Array.of(-Infinity)),
      [subgraphTensorNames.keys(layer, 0, 1)]: nothing,
      [subgraphTensorNames.values(layer, 0, 1)]: nothing,
    }
    return this.run({ input: 'x', parts: [{ kind: 'attention', layer, units, residual }] }, feeds, 0)
  }

  private async run(
    subgraph: Subgraph,
    feeds: Readonly<Record<string, Tensor>>,
    batch: number,
  ): Promise<Float32Array> {
    const { session } = await this.sessions.open(subgraph, Math.max(1, batch))
    const name = batch === 0 ? 'y' : 'logits'
    const out = await session.run(wanted(session, feeds), { fetches: [name] })
    return out[name].data as Float32Array
  }

  /**
   * Uses a graph for a batch: it returns logits of every row, where the graph for one sequence returns those of the
   * last row only.
   */
  private async logits(subgraph: Subgraph, x: Float32Array): Promise<Float32Array> {
    const { width, vocabulary } = this.model
    const tokens = x.length / width
    const out = new Float32Array(tokens * vocabulary)
    for (let from = 0; from < tokens; from += HEAD_ROWS) {
      const rows = Math.min(HEAD_ROWS, tokens - from)
      const part = new Float32Array(HEAD_ROWS * width)
      part.set(x.subarray(from * width, (from + rows) * width))
      const found = await this.run(subgraph, { x: tensor('float32', [HEAD_ROWS, width], part) }, HEAD_ROWS)
      out.set(found.subarray(0, rows * vocabulary), from * vocabulary)
    }
    return out
  }

  private rows(x: Float32Array): Tensor {
    const { width } = this.model
    return tensor('float32', [x.length / width, width], x)
  }
}

/** The feeds that the graph has: `positions` exists only where family or part need it. */
function wanted(session: Session, feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(feeds).filter(([name]) => session.inputNames.includes(name)))
}

function integers(values: readonly number[]): Tensor {
  return tensor(
    'int64',
    [values.length],
    BigInt64Array.from(values, (value) => BigInt(value)),
  )
}

function positions(count: number): Tensor {
  return integers(Array.from({ length: count }, (_, i) => i))
}
