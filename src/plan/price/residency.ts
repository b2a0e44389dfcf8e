import { blockBytes, pairUnits, type BlockBytes, type DevicePair } from './pair.ts'
import { EDGE, type Plan } from '../plan.ts'

/**
 * Which weights lie in edge memory. Units are nested (the edge keeps the most sensitive ones), so one
 * count a layer says which; loading is paid for what is missing, and what nobody needs makes room.
 */
export class Residency {
  private readonly pair: DevicePair
  private readonly bytes: BlockBytes
  private held: Blocks
  /** Every weight is held: nothing is ever missing. */
  private complete = false
  private readonly whole: number

  constructor(pair: DevicePair) {
    this.pair = pair
    this.bytes = blockBytes(pair.model, pair.edgePrecision)
    this.held = emptyBlocks(pair.model.layers)
    this.whole = this.measureWhole()
  }

  /** Takes all weights of a plan as loaded already. */
  preload(plan: Plan): void {
    this.hold(union(this.held, blocksOf(this.pair, plan)))
  }

  /** Bytes that must be loaded before the plan can run. */
  missingBytes(plan: Plan): number {
    if (this.complete) return 0
    const needed = blocksOf(this.pair, plan)
    return this.bytesOf(union(this.held, needed)) - this.bytesOf(this.held)
  }

  /** Loads a plan's weights; if they do not fit beside all that is held, keeps only what `inFlight` needs. */
  load(plan: Plan, inFlight: readonly Plan[], weightLimitBytes: number): void {
    if (this.complete && this.whole <= weightLimitBytes) return
    const all = union(this.held, blocksOf(this.pair, plan))
    this.hold(this.bytesOf(all) <= weightLimitBytes ? all : this.needed([...inFlight, plan]))
  }

  residentBytes(): number {
    if (this.complete) return this.whole
    return this.bytesOf(this.held)
  }

  /** Bytes of all weights that some of the plans need. */
  neededBytes(plans: readonly Plan[]): number {
    return this.bytesOf(this.needed(plans))
  }

  /** Bytes of the whole model on the edge. */
  wholeBytes(): number {
    return this.whole
  }

  private hold(blocks: Blocks): void {
    this.held = blocks
    this.complete = this.bytesOf(blocks) === this.whole
  }

  private measureWhole(): number {
    const { layers } = this.pair.model
    return this.bytesOf({
      units: new Uint8Array(layers).fill(pairUnits(this.pair)),
      first: new Uint8Array(layers).fill(1),
      second: new Uint8Array(layers).fill(1),
      embed: true,
      head: true,
    })
  }

  private needed(plans: readonly Plan[]): Blocks {
    return plans.reduce(
      (sum, plan) => union(sum, blocksOf(this.pair, plan)),
      emptyBlocks(this.pair.model.layers),
    )
  }

  private bytesOf(blocks: Blocks): number {
    const { unit, ffnFirst, ffnSecond, embed, head } = this.bytes
    let total = blocks.embed ? embed : 0
    if (blocks.head && !(this.pair.model.tiedHead && blocks.embed)) total += head
    for (let layer = 0; layer < blocks.units.length; layer++) {
      total += blocks.units[layer] * unit + blocks.first[layer] * ffnFirst + blocks.second[layer] * ffnSecond
    }
    return total
  }
}

interface Blocks {
  /** Edge units per layer. */
  readonly units: Uint8Array
  readonly first: Uint8Array
  readonly second: Uint8Array
  readonly embed: boolean
  readonly head: boolean
}

function emptyBlocks(layers: number): Blocks {
  return {
    units: new Uint8Array(layers),
    first: new Uint8Array(layers),
    second: new Uint8Array(layers),
    embed: false,
    head: false,
  }
}

function blocksOf(pair: DevicePair, plan: Plan): Blocks {
  const units = pairUnits(pair)
  const layers = plan.exit?.layer ?? pair.model.layers
  const within = (of: (layer: number) => number): Uint8Array =>
    Uint8Array.from(plan.ffn, (_, layer) => (layer < layers ? of(layer) : 0))
  return {
    units: within((layer) => units - plan.unitsOnCloud[layer]),
    first: within((layer) => (plan.ffn[layer] === 1 ? 0 : 1)),
    second: within((layer) => (plan.ffn[layer] === 0 ? 1 : 0)),
    embed: plan.embed === EDGE,
    head: plan.head === EDGE || plan.exit !== null,
  }
}

function union(a: Blocks, b: Blocks): Blocks {
  const most = (x: Uint8Array, y: Uint8Array): Uint8Array => x.map((value, i) => Math.max(value, y[i]))
  return {
    units: most(a.units, b.units),
    first: most(a.first, b.first),
    second: most(a.second, b.second),
    embed: a.embed || b.embed,
    head: a.head || b.head,
  }
}
