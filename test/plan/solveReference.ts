import { layerEdges, problemOf } from '../../src/plan/oracle/paths.ts'
import { CLOUD, EDGE, type Side } from '../../src/plan/plan.ts'
import type { OracleInput } from '../../src/plan/price/question.ts'
import type { LayerTransition, LayerTransitions, Path, Problem } from '../../src/plan/oracle/solve.ts'
import { AttentionTimes, layerTables } from '../../src/plan/oracle/tables.ts'
import { exitPlans, exitValue } from '../../src/plan/oracle/value.ts'
import { fitsEdge } from '../../src/plan/price/memory.ts'

/**
 * The shortest path as it was first solved: prices of memory by bisection, then labels with no other bound than those.
 * Slow and plain, to hold the quick one to. It ends only when the optimum is proven.
 */

/** One Lagrangian relaxation: cost + slope x time + price x bytes + intercept. */
interface Relaxation {
  readonly slope: number
  readonly price: number
  readonly intercept: number
  /** Least relaxed cost from (layer, side) to the end, index 2 layer + side. */
  readonly toGo: Float64Array
  readonly weighed: Map<LayerTransitions, Weighed>
}

/** The choices of equal layers under one relaxation. */
interface Weighed {
  /** By side before x 2 + side after. */
  readonly least: Float64Array
  /** By side, in the order of the choices. */
  readonly values: readonly [Float64Array, Float64Array]
  hopeful: readonly (readonly number[])[] | null
}

/** The best path with a value below `bound` (Infinity for none), or null. */
function solveSlowly(problem: Problem, bound: number): Path | null {
  let best: Path | null = null
  let bar = bound
  const relaxations: Relaxation[] = []
  const consider = (slope: number, price: number, intercept: number): number => {
    const relaxation = relax(problem, slope, price, intercept)
    relaxations.push(relaxation)
    const path = follow(problem, relaxation)
    if (path.bytes <= problem.memoryBytes && path.value < bar) {
      bar = path.value
      best = { value: path.value, edges: path.edges }
    }
    return path.bytes
  }
  for (const { slope, intercept } of problem.tangents) {
    const bytes = consider(slope, 0, intercept)
    // Nothing here is better than what is known: most ends and widths go no further.
    if (startBound(problem, relaxations[relaxations.length - 1]) >= bar) return best
    if (bytes > problem.memoryBytes) priceMemory(problem, slope, intercept, consider)
  }
  const lower = Math.max(...relaxations.map((relaxation) => startBound(problem, relaxation)))
  if (!(lower < bar) || tight(lower, bar)) return best
  return searchLabels(problem, relaxations, bar) ?? best
}

function tight(lower: number, value: number): boolean {
  return value - lower <= 1e-13 * Math.abs(value)
}

/** Bisects the price of a byte, so that the relaxed optimum just fits. */
function priceMemory(
  problem: Problem,
  slope: number,
  intercept: number,
  consider: (slope: number, price: number, intercept: number) => number,
): void {
  let low = 0
  let high = 1e-9
  while (high < 1e6 && consider(slope, high, intercept) > problem.memoryBytes) {
    low = high
    high *= 32
  }
  for (let i = 0; i < 24; i++) {
    const price = (low + high) / 2
    if (consider(slope, price, intercept) > problem.memoryBytes) low = price
    else high = price
  }
}

function relax(problem: Problem, slope: number, price: number, intercept: number): Relaxation {
  const { layers, end } = problem
  const toGo = new Float64Array(2 * (layers.length + 1))
  for (const side of [0, 1] as const) {
    const last = end[side]
    toGo[2 * layers.length + side] = last.cost + slope * last.time + price * last.bytes
  }
  const weighed = new Map<LayerTransitions, Weighed>()
  for (let layer = layers.length - 1; layer >= 0; layer--) {
    const { least } = weighedOf(weighed, layers[layer], slope, price)
    for (const side of [0, 1] as const) {
      toGo[2 * layer + side] = Math.min(
        least[2 * side] + toGo[2 * layer + 2],
        least[2 * side + 1] + toGo[2 * layer + 3],
      )
    }
  }
  return { slope, price, intercept, toGo, weighed }
}

/** Equal layers share their choices, and so what those weigh. */
function weighedOf(
  known: Map<LayerTransitions, Weighed>,
  edges: LayerTransitions,
  slope: number,
  price: number,
): Weighed {
  const found = known.get(edges)
  if (found !== undefined) return found
  const least = new Float64Array(4).fill(Infinity)
  const values = edges.map((list, side) =>
    Float64Array.from(list, (edge) => {
      const value = edge.cost + slope * edge.time + price * edge.bytes
      if (value < least[2 * side + edge.next]) least[2 * side + edge.next] = value
      return value
    }),
  ) as [Float64Array, Float64Array]
  const weighed = { least, values, hopeful: null }
  known.set(edges, weighed)
  return weighed
}

/** Indices of choices that may be the best from a side, in order: all within rounding of the least to their next side. */
function hopefulOf(
  weighed: Weighed,
  edges: LayerTransitions,
  toGo: Float64Array,
): readonly (readonly number[])[] {
  if (weighed.hopeful !== null) return weighed.hopeful
  let largest = 0
  for (const value of toGo) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value))
  weighed.hopeful = edges.map((list, side) => {
    const indices: number[] = []
    for (let i = 0; i < list.length; i++) {
      const least = weighed.least[2 * side + list[i].next]
      if (weighed.values[side][i] <= least + 1e-9 * (largest + Math.abs(least))) indices.push(i)
    }
    return indices
  })
  return weighed.hopeful
}

function startBound(problem: Problem, relaxation: Relaxation): number {
  const { start, startSide } = problem
  return lowerBound(problem, relaxation, 2 * 0 + startSide, start.cost, start.time, start.bytes)
}

function lowerBound(
  problem: Problem,
  relaxation: Relaxation,
  node: number,
  cost: number,
  time: number,
  bytes: number,
): number {
  const limit = relaxation.price === 0 ? 0 : relaxation.price * (bytes - problem.memoryBytes)
  return cost + relaxation.slope * time + limit + relaxation.toGo[node] + relaxation.intercept
}

/** The path that a relaxation calls best, with its true value. */
function follow(problem: Problem, relaxation: Relaxation): Path & { readonly bytes: number } {
  const edges: LayerTransition[] = []
  let { cost, time, bytes } = problem.start
  let side = problem.startSide
  for (let layer = 0; layer < problem.layers.length; layer++) {
    let chosen: LayerTransition | null = null
    let least = Infinity
    const choices = problem.layers[layer]
    const weighed = weighedOf(relaxation.weighed, choices, relaxation.slope, relaxation.price)
    for (const index of hopefulOf(weighed, choices, relaxation.toGo)[side]) {
      const edge = choices[side][index]
      const value = weighed.values[side][index] + relaxation.toGo[2 * layer + 2 + edge.next]
      if (value < least) {
        least = value
        chosen = edge
      }
    }
    if (chosen === null) return { value: Infinity, edges, bytes: 0 }
    edges.push(chosen)
    cost += chosen.cost
    time += chosen.time
    bytes += chosen.bytes
    side = chosen.next
  }
  const last = problem.end[side]
  time += last.time
  return { value: cost + last.cost + problem.penalty(time), edges, bytes: bytes + last.bytes }
}

interface Label {
  readonly cost: number
  readonly time: number
  readonly bytes: number
  readonly edge: LayerTransition | null
  readonly before: Label | null
}

/** Label setting, layer by layer; returns a path better than `bar`, or null if there is none. */
function searchLabels(problem: Problem, relaxations: readonly Relaxation[], bar: number): Path | null {
  const useful = strongest(problem, relaxations)
  const first: Label = { ...problem.start, edge: null, before: null }
  let front: [Label[], Label[]] = [[], []]
  front[problem.startSide].push(first)
  for (let layer = 0; layer < problem.layers.length; layer++) {
    const next: [Label[], Label[]] = [[], []]
    for (const side of [0, 1] as const) {
      for (const label of front[side]) {
        extend(problem, useful, layer, side, label, bar, next)
      }
    }
    front = [undominated(next[0]), undominated(next[1])]
  }
  let best: Label | null = null
  let least = bar
  for (const side of [0, 1] as const) {
    const last = problem.end[side]
    for (const label of front[side]) {
      const value = label.cost + last.cost + problem.penalty(label.time + last.time)
      if (value < least && label.bytes + last.bytes <= problem.memoryBytes) {
        least = value
        best = label
      }
    }
  }
  return best === null ? null : { value: least, edges: trail(best) }
}

/** The few relaxations with the highest bounds: each prunes, each costs. */
function strongest(problem: Problem, relaxations: readonly Relaxation[]): Relaxation[] {
  return [...relaxations].sort((a, b) => startBound(problem, b) - startBound(problem, a)).slice(0, 6)
}

function extend(
  problem: Problem,
  relaxations: readonly Relaxation[],
  layer: number,
  side: 0 | 1,
  label: Label,
  bar: number,
  next: [Label[], Label[]],
): void {
  for (const edge of problem.layers[layer][side]) {
    const cost = label.cost + edge.cost
    const time = label.time + edge.time
    const bytes = label.bytes + edge.bytes
    if (bytes > problem.memoryBytes) continue
    const node = 2 * (layer + 1) + edge.next
    let hopeless = false
    for (const relaxation of relaxations) {
      if (lowerBound(problem, relaxation, node, cost, time, bytes) >= bar) {
        hopeless = true
        break
      }
    }
    if (!hopeless) next[edge.next].push({ cost, time, bytes, edge, before: label })
  }
}

/** Labels that no other label equals or betters in cost, time and bytes. */
function undominated(labels: Label[]): Label[] {
  labels.sort((a, b) => a.cost - b.cost || a.time - b.time || a.bytes - b.bytes)
  const kept: Label[] = []
  for (const label of labels) {
    let dominated = false
    for (const other of kept) {
      if (other.time <= label.time && other.bytes <= label.bytes) {
        dominated = true
        break
      }
    }
    if (!dominated) kept.push(label)
  }
  return kept
}

function trail(label: Label): LayerTransition[] {
  const edges: LayerTransition[] = []
  for (let at: Label | null = label; at !== null; at = at.before) if (at.edge !== null) edges.unshift(at.edge)
  return edges
}

/** The value of the best plan of a reachable cloud, every search on its own; Infinity if none fits. */
export function slowOptimum(input: OracleInput): number {
  const { pair, options, state } = input
  const times = new AttentionTimes(pair, state)
  const pinned = options.edgeLayersFirst + options.edgeLayersLast > 0
  const sides: readonly Side[] = pinned ? [EDGE] : [EDGE, CLOUD]
  let least = Infinity
  for (const bits of options.boundaryBits) {
    const layers = layerEdges(input, layerTables(pair, state, bits, times, options.mixedLayers), bits)
    for (const embed of sides) {
      for (const head of sides) {
        const path = solveSlowly(problemOf(input, bits, layers, embed, head), Infinity)
        least = Math.min(least, path?.value ?? Infinity)
      }
    }
  }
  if (!options.earlyExit) return least
  for (const plan of exitPlans(pair, options)) {
    if (plan.exit !== null && fitsEdge(pair, plan, options))
      least = Math.min(least, exitValue(input, plan, plan.exit))
  }
  return least
}
