/** Number of pools that are kept; a device's queries differ in few ways. */
const MOST_POOLS = 8

/**
 * Working memory of the oracle's searches. Code that decides often owns one and passes it to every `optimalPlan`, so
 * that searches allocate little and a small device spends no time on garbage collection. A workspace serves one solve
 * at a time, and each solve overwrites the relaxations, paths and labels of the previous one: two solves at once need
 * two workspaces. The result of a solve is not in the workspace and stays valid.
 */
export class OracleWorkspace {
  private pools: Pool[] = []
  private ownLabels: Labels | null = null

  /** Makes the previous solve's buffers available again. */
  reset(): void {
    for (const pool of this.pools) pool.reset()
  }

  /** The buffers for plans with this many layers and kinds of layers. */
  poolFor(layers: number, kinds: number): Pool {
    const found = this.pools.find((pool) => pool.layers === layers && pool.kinds === kinds)
    if (found !== undefined) return found
    const fresh = new Pool(layers, kinds)
    this.pools = [fresh, ...this.pools.slice(0, MOST_POOLS - 1)]
    return fresh
  }

  /** An empty set of labels. Memory is allocated by the first search, because most queries are answered without one. */
  emptyLabels(): Labels {
    this.ownLabels ??= new Labels()
    this.ownLabels.reset()
    return this.ownLabels
  }
}

/** Buffers of one relaxation. */
interface Relaxed {
  readonly toGo: Float64Array
  readonly least: Float64Array
  readonly choice: Int32Array
}

/** Buffers of one path. */
interface Steps {
  readonly choices: Int32Array
  readonly sides: Uint8Array
}

/** Number of buffers that are kept; a solve that needs more allocates the rest. */
const MOST = 512

/**
 * Buffers of relaxations and paths that each solve reuses. They hold the previous solve's values until they are filled.
 */
export class Pool {
  readonly layers: number
  readonly kinds: number
  private readonly relaxed: Relaxed[] = []
  private readonly steps: Steps[] = []
  private usedRelaxed = 0
  private usedSteps = 0

  constructor(layers: number, kinds: number) {
    this.layers = layers
    this.kinds = kinds
  }

  /** Makes all buffers available: those in use are overwritten from now on. */
  reset(): void {
    this.usedRelaxed = 0
    this.usedSteps = 0
  }

  takeRelaxed(nodes: number): Relaxed {
    const at = this.usedRelaxed++
    if (at < this.relaxed.length) return this.relaxed[at]
    const fresh = {
      toGo: new Float64Array(nodes * (this.layers + 1)),
      least: new Float64Array(4 * this.kinds),
      choice: new Int32Array(4 * this.kinds),
    }
    if (at < MOST) this.relaxed.push(fresh)
    return fresh
  }

  takeSteps(): Steps {
    const at = this.usedSteps++
    if (at < this.steps.length) return this.steps[at]
    const fresh = { choices: new Int32Array(this.layers), sides: new Uint8Array(this.layers + 1) }
    if (at < MOST) this.steps.push(fresh)
    return fresh
  }
}

/** Number of labels for which memory is kept; a longer search allocates more, which the next one frees. */
const KEPT = 1 << 14

/** Labels of one search, stored in columns and identified by index. */
export class Labels {
  cost = new Float64Array(KEPT)
  time = new Float64Array(KEPT)
  bytes = new Float64Array(KEPT)
  /** The label that it extends; -1 for the first one. */
  before = new Int32Array(KEPT)
  /** 2 choice + side before. */
  step = new Int32Array(KEPT)
  /** Of the labels kept of one front, those that dominate most: time rises, bytes fall. */
  stairTime = new Float64Array(KEPT)
  stairBytes = new Float64Array(KEPT)
  count = 0

  /** Index of a new label. */
  take(): number {
    if (this.count === this.cost.length) this.resize(2 * this.count)
    return this.count++
  }

  reset(): void {
    this.count = 0
    if (this.cost.length > KEPT) this.resize(KEPT)
  }

  private resize(size: number): void {
    const sized = <T extends Float64Array | Int32Array>(to: T, from: T): T => {
      to.set(from.subarray(0, Math.min(size, this.count)))
      return to
    }
    this.cost = sized(new Float64Array(size), this.cost)
    this.time = sized(new Float64Array(size), this.time)
    this.bytes = sized(new Float64Array(size), this.bytes)
    this.before = sized(new Int32Array(size), this.before)
    this.step = sized(new Int32Array(size), this.step)
    this.stairTime = new Float64Array(size)
    this.stairBytes = new Float64Array(size)
  }
}
