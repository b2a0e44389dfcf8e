/** Pools that are kept: a device's questions differ in few ways. */
const MOST_POOLS = 8

/**
 * The memory that the oracle's searches work in. Who decides often owns one and hands it to every `optimalPlan`: the searches
 * then allocate little, and a small device spends no time on collecting garbage. A workspace serves one solve at a time;
 * each solve overwrites the relaxations, paths and labels of the one before, so whoever holds two at once needs two workspaces.
 * The answer of a solve lies outside it and stays as it was.
 */
export class OracleWorkspace {
  private pools: Pool[] = []
  private ownLabels: Labels | null = null

  /** Frees the buffers of the solve before. */
  reset(): void {
    for (const pool of this.pools) pool.reset()
  }

  /** The buffers for plans of so many layers and kinds of layers. */
  poolFor(layers: number, kinds: number): Pool {
    const found = this.pools.find((pool) => pool.layers === layers && pool.kinds === kinds)
    if (found !== undefined) return found
    const fresh = new Pool(layers, kinds)
    this.pools = [fresh, ...this.pools.slice(0, MOST_POOLS - 1)]
    return fresh
  }

  /** No labels yet. Their memory is taken by the first search: most questions are answered without one. */
  emptyLabels(): Labels {
    this.ownLabels ??= new Labels()
    this.ownLabels.reset()
    return this.ownLabels
  }
}

/** What one relaxation fills. */
interface Relaxed {
  readonly toGo: Float64Array
  readonly least: Float64Array
  readonly choice: Int32Array
}

/** What one path fills. */
interface Steps {
  readonly choices: Int32Array
  readonly sides: Uint8Array
}

/** Buffers that are kept; a solve that needs more allocates the rest. */
const MOST = 512

/** Buffers of relaxations and paths, handed out anew by each solve. They hold the figures of the solve before until they are filled. */
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

  /** Frees all buffers: what was handed out before is overwritten from here on. */
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

/** Labels that memory is kept for; a longer search takes more and gives it back when the next one begins. */
const KEPT = 1 << 14

/** Labels of one search in columns; a label is its place in them. */
export class Labels {
  cost = new Float64Array(KEPT)
  time = new Float64Array(KEPT)
  bytes = new Float64Array(KEPT)
  /** The label it extends; -1 for the first. */
  before = new Int32Array(KEPT)
  /** 2 choice + side before. */
  step = new Int32Array(KEPT)
  /** Of those kept of one front, the ones that dominate most: time rises, bytes fall. */
  stairTime = new Float64Array(KEPT)
  stairBytes = new Float64Array(KEPT)
  count = 0

  /** The place of a new label. */
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
