import { GraphRecorder } from '../../core/onnx/graph.ts'
import type { Handle } from '../../core/onnx/graph.ts'
import {
  attend,
  causalMask,
  finish,
  project,
  residualOnly,
  rowHeads,
  sequenceHeads,
  cacheSizes,
} from './attend.ts'
import type { Cache, Heads } from './attend.ts'
import type { WeightBlock } from './blocks.ts'
import { embed, logitsOf } from './ends.ts'
import { ffnFirst, ffnSecond } from './ffn.ts'
import { integers, noRope, op, ropeAt, RUNTIME_OPSETS } from './layers.ts'
import type { Rope } from './layers.ts'
import { inline, Scope } from './scope.ts'
import type { InitializerWriter } from './scope.ts'
import { subgraphBlocks } from './subgraphBlocks.ts'
import type { SubgraphBlocks } from './subgraphBlocks.ts'
import { checkSubgraph } from './subgraphCheck.ts'
import { subgraphTensorNames } from './subgraphTypes.ts'
import type { Subgraph, SubgraphPart } from './subgraphTypes.ts'
import type { RuntimePrecision } from '../precision.ts'
import type { WeightSource } from './source.ts'
import type { ModelSpec } from '../spec.ts'

/** Options of buildSubgraph. */
interface SubgraphOptions {
  /** Number of sequences with one token each; 1 (the default) is one sequence with any number of tokens. */
  readonly batch?: number
  /** Precision of the matrices; embedding, norms and biases are float32. Default fp32. */
  readonly precision?: RuntimePrecision
  /** How weights become constants. Default: stored inside the graph. */
  readonly place?: InitializerWriter
}

/**
 * Builds the graph of a subgraph; `subgraphTensorNames` gives the names and shapes of its values. One sequence may feed
 * any n >= 1 tokens: prefill, decode and a chunk after cached tokens use the same graph. Throws InputError for a
 * subgraph that breaks the rules of `SubgraphPart`.
 */
export function buildSubgraph(
  source: WeightSource,
  subgraph: Subgraph,
  options: SubgraphOptions = {},
): GraphRecorder {
  const { batch = 1, precision = 'fp32', place = inline } = options
  checkSubgraph(source, subgraph, batch)
  return new SubgraphBuilder(source.model, subgraphBlocks(source, precision), subgraph, batch, place).build()
}

type Attention = Extract<SubgraphPart, { kind: 'attention' }>

class SubgraphBuilder {
  private readonly model: ModelSpec
  private readonly blocks: SubgraphBlocks
  private readonly subgraph: Subgraph
  private readonly batch: number
  private readonly place: InitializerWriter
  private readonly graph = new GraphRecorder('segment', RUNTIME_OPSETS)
  private readonly scopes = new Map<string, Scope>()
  private readonly shared = new Map<string, Handle>()
  private readonly rows: number | string
  private rope: Rope | null = null

  constructor(
    model: ModelSpec,
    blocks: SubgraphBlocks,
    subgraph: Subgraph,
    batch: number,
    place: InitializerWriter,
  ) {
    this.model = model
    this.blocks = blocks
    this.subgraph = subgraph
    this.batch = batch
    this.place = place
    this.rows = batch === 1 ? 'tokens' : batch
  }

  build(): GraphRecorder {
    const { input, parts } = this.subgraph
    let x = input === 'ids' ? this.embedding() : this.input('x', this.model.width)
    if (input === 'x+partial') x = op(this.graph, 'Add', [x, this.input('partial', this.model.width)])
    for (const part of input === 'ids' ? parts.slice(1) : parts) x = this.add(part, x)
    if (parts.at(-1)!.kind !== 'head') this.graph.output(x, 'y')
    return this.graph
  }

  /** Adds one part; returns the residual (or share) after it. */
  private add(part: SubgraphPart, x: Handle): Handle {
    if (part.kind === 'attention') return this.attention(part, x)
    if (part.kind === 'ffn') {
      const first = this.scope(this.blocks.ffnFirst(part.layer))
      const hidden = part.part === 'second' ? this.input('hidden', this.model.ffnWidth) : ffnFirst(first, x)
      if (part.part === 'first') this.graph.output(hidden, 'hidden')
      else return ffnSecond(this.scope(this.blocks.ffnSecond(part.layer)), x, hidden)
    }
    if (part.kind === 'head' || part.kind === 'exit') this.head(part.kind === 'exit' ? part.layer : null, x)
    return x
  }

  private embedding(): Handle {
    const ids = this.graph.input('ids', 'int64', [this.rows])
    return embed(
      this.scope(this.blocks.embedding()),
      ids,
      this.model.family === 'gpt2' ? this.positions() : null,
    )
  }

  private attention(part: Attention, x: Handle): Handle {
    const scope = this.scope(this.blocks.attention(part.layer, part.units))
    if (part.units.length === 0) return residualOnly(scope, x)
    return finish(
      scope,
      x,
      this.batch === 1 ? this.sequence(scope, part, x) : this.sequences(scope, part, x),
      part.residual,
    )
  }

  /** Attention of n tokens of one sequence, after those in its cache: heads side by side [n, U g D]. */
  private sequence(scope: Scope, part: Attention, x: Handle): Handle {
    const causal = this.once('causal', () => causalMask(this.graph, this.positions()))
    const heads = sequenceHeads(scope, project(scope, x, this.turning()), part.units.length)
    this.giveNew(part.layer, 0, heads)
    return attend(this.graph, heads, this.cache(part, 0, x), causal)
  }

  /** Attention of one token of each of B sequences: heads side by side [B, U g D]. */
  private sequences(scope: Scope, part: Attention, x: Handle): Handle {
    const heads = rowHeads(scope, project(scope, x, this.turning()), part.units.length, this.batch)
    const mixed = heads.map((one, b) => {
      this.giveNew(part.layer, b, one)
      return attend(this.graph, one, this.cache(part, b, null), null)
    })
    return op(this.graph, 'Concat', mixed, { axis: 0 })
  }

  /** Declares the inputs of one sequence's K/V cache for one layer. `x` are its new tokens; null for a single token. */
  private cache({ layer, units }: Attention, b: number, x: Handle | null): Cache {
    const { graph, batch } = this
    const capacity = batch === 1 ? 'capacity' : `capacity${b}`
    const dims = [units.length, capacity, this.model.headDim]
    const name = subgraphTensorNames.mask(b, batch)
    const mask = this.once(name, () => graph.input(name, 'float32', [1, capacity]))
    return {
      keys: graph.input(subgraphTensorNames.keys(layer, b, batch), 'float32', dims),
      values: graph.input(subgraphTensorNames.values(layer, b, batch), 'float32', dims),
      mask,
      sizes: this.once(`sizes of ${name}`, () => cacheSizes(graph, mask, x)),
    }
  }

  private giveNew(layer: number, b: number, heads: Heads): void {
    this.graph.output(heads.keys, subgraphTensorNames.newKeys(layer, b, this.batch))
    this.graph.output(heads.values, subgraphTensorNames.newValues(layer, b, this.batch))
  }

  private head(exit: number | null, x: Handle): void {
    const scope = this.scope(exit === null ? this.blocks.head() : this.blocks.exit(exit))
    const last = this.batch === 1 ? op(this.graph, 'Gather', [x, integers(this.graph, [-1])], { axis: 0 }) : x
    const tied = () => this.scope(this.blocks.embedding()).weight('tokens')
    this.graph.output(logitsOf(scope, last, tied), 'logits')
  }

  private input(name: string, width: number): Handle {
    return this.graph.input(name, 'float32', [this.rows, width])
  }

  private positions(): Handle {
    return this.once('positions', () => this.graph.input('positions', 'int64', [this.rows]))
  }

  private turning(): Rope {
    if (this.model.family === 'gpt2') return noRope
    return (this.rope ??= ropeAt(this.scope(this.blocks.rope()), this.positions()))
  }

  /** Builds a value that several parts use on its first use. */
  private once(name: string, make: () => Handle): Handle {
    const known = this.shared.get(name)
    if (known !== undefined) return known
    const made = make()
    this.shared.set(name, made)
    return made
  }

  private scope(block: WeightBlock): Scope {
    const known = this.scopes.get(block.name)
    if (known !== undefined) return known
    const made = new Scope(this.graph, this.model, block, this.place)
    this.scopes.set(block.name, made)
    return made
  }
}
