import type { Engine, Resident } from '../../core/engine/types.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { subgraphTensorNames } from '../../model/graphs/subgraphTypes.ts'
import { cacheCapacity } from '../../model/graphs/cache.ts'

/** Keys and values of one layer's units on one side. */
interface LayerKvCache {
  readonly layer: number
  readonly keys: Resident
  readonly values: Resident
}

/** A sequence's caches, with the names of a subgraph's graph. */
export interface BoundKvCache {
  readonly residents: Record<string, Resident>
  readonly inserts: { readonly output: string; readonly into: Resident; at: number }[]
}

/**
 * The K/V caches of one request on one side: padded, head-major, owned by the side that computes the heads. They
 * grow in chunks, and never past the tokens that the request reserves; the mask says what is held.
 */
export class RequestKvCache {
  private readonly engine: Engine
  private readonly model: ModelSpec
  private readonly reservedTokens: number
  private readonly layers = new Map<number, LayerKvCache>()
  private readonly alone = new WeakMap<Subgraph, BoundKvCache>()
  private capacity = 0
  private maskValues = new Float32Array(0)
  private masked = 0

  /** `reservedTokens`: prompt and longest answer together. */
  constructor(engine: Engine, model: ModelSpec, reservedTokens: number) {
    this.engine = engine
    this.model = model
    this.reservedTokens = reservedTokens
  }

  /** Makes room for `tokens` tokens and returns the caches of the subgraph's layers. */
  async reserve(subgraph: Subgraph, tokens: number): Promise<LayerKvCache[]> {
    this.grow(tokens)
    const caches: LayerKvCache[] = []
    for (const part of subgraph.parts) {
      if (part.kind !== 'attention' || part.units.length === 0) continue
      caches.push(this.layers.get(part.layer) ?? (await this.allocate(part.layer, part.units.length)))
    }
    return caches
  }

  /**
   * The caches that a subgraph reads as sequence `b` of `batch`, with room for `tokens` tokens; new keys and values go
   * to `at`. For a single sequence it returns the same object every time, valid until the next call.
   */
  async bind(
    subgraph: Subgraph,
    tokens: number,
    at: number,
    b: number,
    batch: number,
  ): Promise<BoundKvCache> {
    let bound = batch === 1 ? this.alone.get(subgraph) : undefined
    if (bound === undefined) {
      bound = named(await this.reserve(subgraph, tokens), b, batch)
      if (batch === 1) this.alone.set(subgraph, bound)
    } else this.grow(tokens)
    for (const insert of bound.inserts) insert.at = at
    return bound
  }

  /** Additive mask [1, capacity]: 0 for the first `tokens` positions, -Infinity for the others. */
  mask(tokens: number): Float32Array {
    if (this.maskValues.length !== this.capacity || tokens < this.masked) {
      this.maskValues = new Float32Array(this.capacity).fill(-Infinity)
      this.masked = 0
    }
    this.maskValues.fill(0, this.masked, tokens)
    this.masked = tokens
    return this.maskValues
  }

  async dispose(): Promise<void> {
    const all = [...this.layers.values()]
    this.layers.clear()
    await Promise.all(all.flatMap(({ keys, values }) => [keys.dispose(), values.dispose()]))
  }

  /** The engine handles messages in order, so a growth need not be awaited. */
  private grow(tokens: number): void {
    if (tokens > this.reservedTokens) {
      throw new RangeError(`K/V cache: expected at most ${this.reservedTokens} tokens, found ${tokens}`)
    }
    const capacity = Math.min(cacheCapacity(tokens), this.reservedTokens)
    if (capacity <= this.capacity) return
    this.capacity = capacity
    for (const { keys, values } of this.layers.values()) {
      void keys.grow(capacity)
      void values.grow(capacity)
    }
  }

  private async allocate(layer: number, units: number): Promise<LayerKvCache> {
    const dims = [units, this.capacity, this.model.headDim] as const
    const [keys, values] = await Promise.all([this.engine.allocate(dims), this.engine.allocate(dims)])
    const cache = { layer, keys, values }
    this.layers.set(layer, cache)
    return cache
  }
}

function named(caches: readonly LayerKvCache[], b: number, batch: number): BoundKvCache {
  const bound: BoundKvCache = { residents: {}, inserts: [] }
  for (const { layer, keys, values } of caches) {
    bound.residents[subgraphTensorNames.keys(layer, b, batch)] = keys
    bound.residents[subgraphTensorNames.values(layer, b, batch)] = values
    bound.inserts.push({ output: subgraphTensorNames.newKeys(layer, b, batch), into: keys, at: 0 })
    bound.inserts.push({ output: subgraphTensorNames.newValues(layer, b, batch), into: values, at: 0 })
  }
  return bound
}
