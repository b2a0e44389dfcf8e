import type { Engine, Insert, Resident, RunOptions } from '../../core/engine/types.ts'
import { cacheCapacity } from '../../model/graphs/cache.ts'
import { subgraphTensorNames } from '../../model/graphs/subgraphTypes.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import type { ModelSpec } from '../../model/spec.ts'
import type { WeightFill } from '../../model/graphs/weights.ts'
import { tensor } from '../../core/onnx/tensor.ts'
import { EMPTY_CAPACITY } from './feeds.ts'
import type { Step } from './feeds.ts'

interface Cache {
  readonly layer: number
  readonly sequence: number
  readonly keys: Resident
  readonly values: Resident
}

/** K/V caches of a subgraph's layers, managed as the runtime does: in the engine, growing in chunks. */
export class SubgraphKvCaches {
  private capacity = 0
  private readonly engine: Engine
  private readonly model: ModelSpec
  private readonly subgraph: Subgraph
  private readonly batch: number
  private readonly fill: WeightFill
  private readonly caches: Cache[] = []
  private readonly empty = new Map<number, Resident>()

  constructor(engine: Engine, model: ModelSpec, subgraph: Subgraph, batch: number, fill: WeightFill) {
    this.engine = engine
    this.model = model
    this.subgraph = subgraph
    this.batch = batch
    this.fill = fill
  }

  /** Capacity that a step's graph sees after growing: a prompt's first pass sees an empty cache. */
  seenCapacity({ position }: Step): number {
    return position === 0 ? EMPTY_CAPACITY : this.capacity
  }

  /** Residents and inserts of a step, after growing the caches for it. `outputs`: all outputs of the graph. */
  async optionsOf(step: Step, outputs: readonly string[]): Promise<RunOptions> {
    await this.reserve(cacheCapacity(step.position + step.tokens))
    const residents: Record<string, Resident> = {}
    const inserts: Insert[] = []
    for (const { layer, sequence, keys, values } of this.caches) {
      const names = [layer, sequence, this.batch] as const
      const empty = step.position === 0 ? this.empty.get(keys.dims[0]) : undefined
      residents[subgraphTensorNames.keys(...names)] = empty ?? keys
      residents[subgraphTensorNames.values(...names)] = empty ?? values
      inserts.push({ output: subgraphTensorNames.newKeys(...names), into: keys, at: step.position })
      inserts.push({ output: subgraphTensorNames.newValues(...names), into: values, at: step.position })
    }
    const kept = new Set(inserts.map(({ output }) => output))
    return { residents, inserts, fetches: outputs.filter((name) => !kept.has(name)) }
  }

  async dispose(): Promise<void> {
    const all = this.caches.flatMap(({ keys, values }) => [keys, values])
    for (const resident of [...all, ...this.empty.values()]) await resident.dispose()
    this.caches.length = 0
    this.empty.clear()
  }

  private async reserve(capacity: number): Promise<void> {
    if (capacity <= this.capacity) return
    this.capacity = capacity
    if (this.caches.length === 0) await this.allocate(capacity)
    const { headDim } = this.model
    for (const { keys, values } of this.caches) {
      const dims = [keys.dims[0], capacity, headDim]
      for (const resident of [keys, values]) {
        if (resident.dims[1] < capacity) await resident.grow(capacity)
        // Write actual values: untouched zeros would all map to one page of memory, which is fast to read.
        await resident.write(0, tensor('float32', dims, this.fill(dims[0] * capacity * headDim, 0, 1)))
      }
    }
  }

  private async allocate(capacity: number): Promise<void> {
    const { headDim } = this.model
    for (const part of this.subgraph.parts) {
      if (part.kind !== 'attention' || part.units.length === 0) continue
      const { layer, units } = part
      for (let sequence = 0; sequence < this.batch; sequence++) {
        const keys = await this.engine.allocate([units.length, capacity, headDim])
        const values = await this.engine.allocate([units.length, capacity, headDim])
        this.caches.push({ layer, sequence, keys, values })
      }
      if (!this.empty.has(units.length))
        this.empty.set(units.length, await this.engine.allocate([units.length, EMPTY_CAPACITY, headDim]))
    }
  }
}
