import { searchLabels } from './labels.ts'
import { mend } from './mend.ts'
import {
  edgesOf,
  follow,
  layersOf,
  relax,
  type Group,
  type Layers,
  type Relaxation,
  type ChoicePath,
} from './relax.ts'
import { OracleWorkspace } from './workspace.ts'

/**
 * The exact shortest path over (layer, side of the residual), with an optional convex penalty on time and an optional
 * memory limit. Without them it is a plain dynamic program; with them, labels (cost, time, bytes) are extended, and
 * pruned by dominance and by Lagrangian bounds.
 */

/** One choice of a layer: from `side` to `next`. */
export interface LayerTransition {
  readonly next: 0 | 1
  readonly unitsOnCloud: number
  readonly ffn: number
  readonly cost: number
  readonly time: number
  readonly bytes: number
}

/** Choices by side of the residual before the layer. */
export type LayerTransitions = readonly [readonly LayerTransition[], readonly LayerTransition[]]

/** A shortest-path problem over the layers. */
export interface Problem {
  /** One entry per layer; equal layers may share the object. */
  readonly layers: readonly LayerTransitions[]
  readonly startSide: 0 | 1
  readonly start: { readonly cost: number; readonly time: number; readonly bytes: number }
  /** What follows the last layer, by side of the residual. */
  readonly end: readonly [End, End]
  /** Convex, non-decreasing. */
  readonly penalty: (time: number) => number
  /** Lines slope x time + intercept that are nowhere above the penalty, by rising slope. */
  readonly tangents: readonly { readonly slope: number; readonly intercept: number }[]
  /** The intercept of such a line for a slope between those of the tangents, and its derivative. */
  readonly interceptAt: (slope: number) => readonly [intercept: number, change: number]
  readonly memoryBytes: number
}

/** Fixed cost, time and bytes. */
export interface End {
  readonly cost: number
  readonly time: number
  readonly bytes: number
}

/** A path with its value. */
export interface Path {
  readonly value: number
  readonly edges: readonly LayerTransition[]
}

/**
 * Search steps left for all searches together (choices evaluated). At least 0 at the end if no search was cut short.
 */
export interface SearchBudget {
  left: number
}

/** The best path, and the index of its problem. */
interface Solution extends Path {
  readonly problem: number
}

/**
 * The best path of all problems with a value below `bound` (Infinity: any), or null. If `effort` is used up, the best
 * of the relaxations' paths, which is within the relaxation's gap. Overwrites `workspace`; the result is not part of
 * it.
 */
export function solve(
  problems: readonly Problem[],
  bound: number,
  effort: SearchBudget = { left: Infinity },
  workspace = new OracleWorkspace(),
): Solution | null {
  const best: Best = { bar: bound, problem: -1, path: null, edges: null }
  const layers = layersOf(problems, workspace)
  const solver = (i: number, group: Group): Solver => new Solver(problems[i], layers[i], i, group, best)
  const hard = problems.map((_, i) => i).filter((i) => !solver(i, 'any').isEasy())
  const groups = hard.flatMap((i) => [solver(i, 'stay'), solver(i, 'leave')])
  // Good paths of one group save the others their searches, so start where the lowest bound is: the best path is most
  // likely there.
  const open = groups.filter((group) => !group.climb()).sort((a, b) => a.highest - b.highest)
  for (const group of open) group.search(effort, workspace)
  const { problem, path, edges } = best
  if (path === null && edges === null) return null
  const transitions = edges ?? (path === null ? [] : edgesOf(layers[problem], path))
  return { value: best.bar, edges: transitions, problem }
}

/** The best known path, as choices or, from a search, as transitions. */
interface Best {
  bar: number
  problem: number
  path: ChoicePath | null
  edges: readonly LayerTransition[] | null
}

/** Largest number of steps between the lines of two paths; each step finds another path, so they end anyway. */
const MOST_JUMPS = 64

/** Slopes tried between two tangents. */
const MOST_SLOPES = 12

/** Share of the gap that another slope must promise to close. */
const WORTHWHILE = 0.02

/** Relative rounding error of a value. */
const TIGHT = 1e-13

/** The highest bound at one slope over all prices of memory, and its derivative by the slope. */
interface Ridge {
  readonly slope: number
  readonly bound: number
  readonly change: number
  /** The paths between which the memory limit lies; null if it does not bind. */
  readonly between: { readonly large: ChoicePath; readonly fitting: ChoicePath } | null
}

class Solver {
  private readonly problem: Problem
  private readonly layers: Layers
  private readonly relaxations: Relaxation[] = []
  private readonly group: Group
  private readonly best: Best
  private readonly index: number
  private smallest: ChoicePath | null = null
  /** The highest bound so far. */
  highest = -Infinity

  constructor(problem: Problem, layers: Layers, index: number, group: Group, best: Best) {
    this.problem = problem
    this.index = index
    this.layers = layers
    this.group = group
    this.best = best
  }

  /** Whether the first relaxation proves that there is no better path than the best known one. */
  isEasy(): boolean {
    const { slope, intercept } = this.problem.tangents[0]
    this.consider(slope, 0, intercept)
    return this.isClosed(this.latest)
  }

  search(effort: SearchBudget, workspace: OracleWorkspace): void {
    if (this.isClosed({ bound: this.highest }) || effort.left < 0) return
    const labels = workspace.emptyLabels()
    const found = searchLabels(this.problem, this.layers, this.relaxations, this.best.bar, effort, labels)
    if (found === null) return
    Object.assign(this.best, { bar: found.value, problem: this.index, path: null, edges: found.edges })
  }

  /** Finds the highest bounds, and good paths on the way; true if no path better than the best of them exists. */
  climb(): boolean {
    let below: Ridge | null = null
    let above: Ridge | null = null
    for (const { slope } of this.problem.tangents) {
      const ridge = this.ridge(slope)
      if (ridge === null || this.isClosed(ridge)) return true
      if (below === null) this.mend(ridge)
      if (ridge.change <= 0) {
        above = ridge
        break
      }
      below = ridge
    }
    if (below === null || above === null) return false
    return this.between(below, above)
  }

  /**
   * The bound is concave over the slope: it is highest where the lines at two slopes cross, or on one side of that
   * point.
   */
  private between(below: Ridge, above: Ridge): boolean {
    for (let i = 0; i < MOST_SLOPES; i++) {
      const slope =
        (above.bound - below.bound + below.change * below.slope - above.change * above.slope) /
        (below.change - above.change)
      if (!(slope > below.slope && slope < above.slope)) break
      const most = below.bound + below.change * (slope - below.slope)
      const least = Math.max(below.bound, above.bound)
      if (most - least <= WORTHWHILE * (this.best.bar - least)) break
      const ridge = this.ridge(slope)
      if (ridge === null || this.isClosed(ridge)) return true
      if (ridge.change > 0) below = ridge
      else above = ridge
    }
    const highest = below.bound > above.bound ? below : above
    this.mend(highest)
    return this.isClosed(highest)
  }

  /** Nothing here can be better than the best known path. */
  private isClosed({ bound }: Pick<Ridge, 'bound'>): boolean {
    return bound >= this.best.bar - TIGHT * Math.abs(this.best.bar)
  }

  private consider(slope: number, price: number, intercept: number): ChoicePath {
    const relaxation = relax(this.problem, this.layers, slope, price, intercept, this.group)
    this.relaxations.push(relaxation)
    this.highest = Math.max(this.highest, relaxation.bound)
    const path = follow(this.problem, this.layers, relaxation)
    this.offer(path)
    return path
  }

  private get latest(): Relaxation {
    return this.relaxations[this.relaxations.length - 1]
  }

  private offer(path: ChoicePath): void {
    if (path.bytes > this.problem.memoryBytes || !(path.value < this.best.bar)) return
    Object.assign(this.best, { bar: path.value, problem: this.index, path, edges: null })
  }

  private mend({ between }: Ridge): void {
    if (between !== null) this.offer(mend(this.problem, this.layers, between.large, between.fitting))
  }

  /** Null if nothing fits. */
  private ridge(slope: number): Ridge | null {
    const [intercept, change] = this.problem.interceptAt(slope)
    const path = this.consider(slope, 0, intercept)
    if (path.bytes <= this.problem.memoryBytes || this.isClosed(this.latest)) {
      return { slope, bound: this.latest.bound, change: change + path.time, between: null }
    }
    return this.priceMemory(slope, intercept, change, path)
  }

  /**
   * Finds the price of a byte with the highest bound. Each path is a line over the price. Where the lines of a path
   * that is too large and one that fits cross, a relaxation either finds a path below both or is the highest.
   */
  private priceMemory(slope: number, intercept: number, change: number, large: ChoicePath): Ridge | null {
    const { problem, layers } = this
    this.smallest ??= follow(problem, layers, relax(problem, layers, 0, 1, 0, this.group, 0))
    let fitting = this.smallest
    if (fitting.bytes > problem.memoryBytes) return null
    this.offer(fitting)
    const line = (path: ChoicePath): number => path.cost + slope * path.time
    let bound = this.latest.bound
    for (let jump = 0; jump < MOST_JUMPS; jump++) {
      const price = Math.max(0, line(fitting) - line(large)) / (large.bytes - fitting.bytes)
      const crossing = line(large) + price * (large.bytes - problem.memoryBytes) + intercept
      const path = this.consider(slope, price, intercept)
      bound = Math.max(bound, this.latest.bound)
      if (this.isClosed({ bound }) || this.latest.bound >= crossing - TIGHT * Math.abs(crossing)) break
      if (path.bytes > problem.memoryBytes) large = path
      else fitting = path
    }
    const share = (problem.memoryBytes - fitting.bytes) / (large.bytes - fitting.bytes)
    const time = share * large.time + (1 - share) * fitting.time
    return { slope, bound, change: change + time, between: { large, fitting } }
  }
}
