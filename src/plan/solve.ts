import { searchLabels } from './labels.ts'
import { mend } from './mend.ts'
import { edgesOf, follow, layersOf, relax, type Layers, type Relaxation, type Walk } from './relax.ts'

/**
 * The exact shortest path over (layer, side of the residual) with an optional convex penalty on time and an
 * optional memory limit. Without them it is a plain dynamic program; with them, labels
 * (cost, time, bytes) are extended and pruned by dominance and by Lagrangian bounds.
 */

/** One choice of a layer: from `side` to `next`. */
export interface Edge {
  readonly next: 0 | 1
  readonly unitsOnCloud: number
  readonly ffn: number
  readonly cost: number
  readonly time: number
  readonly bytes: number
}

/** Choices by side of the residual before the layer. */
export type LayerEdges = readonly [readonly Edge[], readonly Edge[]]

export interface Problem {
  /** One entry per layer; equal layers may share the object. */
  readonly layers: readonly LayerEdges[]
  readonly startSide: 0 | 1
  readonly start: { readonly cost: number; readonly time: number; readonly bytes: number }
  /** What follows the last layer, by side of the residual. */
  readonly end: readonly [End, End]
  /** Convex, non-decreasing. */
  readonly penalty: (time: number) => number
  /** Lines slope x time + intercept that lie nowhere above the penalty. */
  readonly tangents: readonly { readonly slope: number; readonly intercept: number }[]
  readonly memoryBytes: number
}

export interface End {
  readonly cost: number
  readonly time: number
  readonly bytes: number
}

export interface Path {
  readonly value: number
  readonly edges: readonly Edge[]
}

/** Steps that searches may still take, together: choices looked at. What is left when it ends is 0 or more if none was cut short. */
export interface Effort {
  left: number
}

/**
 * The best path with a value below `bound` (Infinity for none), or null. Where `effort` runs out it is the best of the
 * relaxations' paths: no worse than the relaxation's gap.
 */
export function solve(problem: Problem, bound: number, effort: Effort = { left: Infinity }): Path | null {
  return new Solver(problem, bound).solve(effort)
}

/** Jumps between the lines of two paths; each brings another path, so they end. */
const MOST_JUMPS = 64

/** Share of a value that is rounding. */
const TIGHT = 1e-13

class Solver {
  private readonly problem: Problem
  private readonly layers: Layers
  private readonly relaxations: Relaxation[] = []
  private bar: number
  private best: Walk | null = null
  private smallest: Walk | null = null

  constructor(problem: Problem, bound: number) {
    this.problem = problem
    this.layers = layersOf(problem.layers)
    this.bar = bound
  }

  solve(effort: Effort): Path | null {
    for (const { slope, intercept } of this.problem.tangents) {
      const walk = this.consider(slope, 0, intercept)
      if (this.closed()) return this.answer()
      if (walk.bytes > this.problem.memoryBytes) {
        if (!this.priceMemory(slope, intercept, walk)) return null
        if (this.closed()) return this.answer()
      }
    }
    const found = searchLabels(this.problem, this.layers, this.relaxations, this.bar, effort)
    return found ?? this.answer()
  }

  private answer(): Path | null {
    return this.best === null ? null : { value: this.best.value, edges: edgesOf(this.layers, this.best) }
  }

  /** Nothing here is better than what is known. */
  private closed(): boolean {
    return this.relaxations[this.relaxations.length - 1].bound >= this.bar - TIGHT * Math.abs(this.bar)
  }

  private consider(slope: number, price: number, intercept: number): Walk {
    const relaxation = relax(this.problem, this.layers, slope, price, intercept)
    this.relaxations.push(relaxation)
    const walk = follow(this.problem, this.layers, relaxation)
    this.offer(walk)
    return walk
  }

  private offer(walk: Walk): void {
    if (walk.bytes > this.problem.memoryBytes || !(walk.value < this.bar)) return
    this.bar = walk.value
    this.best = walk
  }

  /**
   * Finds the price of a byte with the highest bound. Each path is a line over the price; where those of a path that is
   * too large and of one that fits cross, a relaxation either finds a path below both or is the highest. False if
   * nothing fits.
   */
  private priceMemory(slope: number, intercept: number, large: Walk): boolean {
    const { problem, layers } = this
    this.smallest ??= follow(problem, layers, relax(problem, layers, 0, 1, 0, 0))
    let fitting = this.smallest
    if (fitting.bytes > problem.memoryBytes) return false
    this.offer(fitting)
    const line = (walk: Walk): number => walk.cost + slope * walk.time
    for (let jump = 0; jump < MOST_JUMPS; jump++) {
      const price = Math.max(0, line(fitting) - line(large)) / (large.bytes - fitting.bytes)
      const crossing = line(large) + price * (large.bytes - problem.memoryBytes) + intercept
      const walk = this.consider(slope, price, intercept)
      const { bound } = this.relaxations[this.relaxations.length - 1]
      if (this.closed() || bound >= crossing - TIGHT * Math.abs(crossing)) break
      if (walk.bytes > problem.memoryBytes) large = walk
      else fitting = walk
    }
    this.offer(mend(problem, layers, large, fitting))
    return true
  }
}
