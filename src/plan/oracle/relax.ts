import type { OracleWorkspace, Pool } from './workspace.ts'
import type { LayerTransition, End, LayerTransitions, Problem } from './solve.ts'

/** The choices of equal layers in columns, by side before the layer. */
export interface Kind {
  readonly edges: LayerTransitions
  readonly cost: readonly [Float64Array, Float64Array]
  readonly time: readonly [Float64Array, Float64Array]
  readonly bytes: readonly [Float64Array, Float64Array]
  readonly next: readonly [Uint8Array, Uint8Array]
}

/** Layers grouped into kinds: shared by four plan-wide choices and all their relaxations. */
export interface Layers {
  readonly kinds: readonly Kind[]
  /** Kind of each layer. */
  readonly kindOf: Uint8Array
  readonly pool: Pool
}

/**
 * Paths whose residual stays on the side where it began, those where it changes side, or any. All paths that change
 * side pay for the change: bounds for one group at a time are much tighter than one for all.
 */
export type Group = 'any' | 'stay' | 'leave'

/** Nodes of one layer: on either side; and on the first side without a change so far. */
export const NODES = 3
export const FRESH = 2

/** One Lagrangian relaxation: weight x cost + slope x time + price x (bytes - limit) + intercept. */
export interface Relaxation {
  readonly group: Group
  readonly slope: number
  readonly price: number
  readonly intercept: number
  /** Lowest relaxed cost from a node to the end, index NODES x layer + node. */
  readonly toGo: Float64Array
  /**
   * Index 4 kind + 2 side before + side after: the cheapest choice, and its value; -1 and Infinity if there is none.
   */
  readonly least: Float64Array
  readonly choice: Int32Array
  /** No path has a lower value. */
  readonly bound: number
}

/** A path, as the index of each choice among those of its layer and side. */
export interface ChoicePath {
  readonly choices: Int32Array
  /** Side before each layer, and after the last. */
  readonly sides: Uint8Array
  readonly cost: number
  readonly time: number
  readonly bytes: number
  /** Cost and penalty; Infinity if no path exists. */
  readonly value: number
}

/**
 * The kinds of each problem's layers; problems with the same list share theirs. Invalidates the relaxations and paths
 * made in `workspace` before: their buffers are reused.
 */
export function layersOf(problems: readonly Pick<Problem, 'layers'>[], workspace: OracleWorkspace): Layers[] {
  workspace.reset()
  const known = new Map<readonly LayerTransitions[], Layers>()
  return problems.map(({ layers: list }) => {
    const found = known.get(list) ?? layersIn(list, workspace)
    known.set(list, found)
    return found
  })
}

function layersIn(list: readonly LayerTransitions[], workspace: OracleWorkspace): Layers {
  const distinct: LayerTransitions[] = []
  const kindAt = new Uint8Array(list.length)
  for (let layer = 0; layer < list.length; layer++) {
    let kind = distinct.indexOf(list[layer])
    if (kind < 0) kind = distinct.push(list[layer]) - 1
    kindAt[layer] = kind
  }
  const pool = workspace.poolFor(list.length, distinct.length)
  return { kinds: distinct.map(kindOf), kindOf: kindAt, pool }
}

function kindOf(edges: LayerTransitions): Kind {
  const [first, second] = [columnsOf(edges[0]), columnsOf(edges[1])]
  return {
    edges,
    cost: [first.cost, second.cost],
    time: [first.time, second.time],
    bytes: [first.bytes, second.bytes],
    next: [first.next, second.next],
  }
}

function columnsOf(edges: readonly LayerTransition[]) {
  const count = edges.length
  const memory = new Float64Array(3 * count)
  const [cost, time, bytes] = [0, 1, 2].map((i) => memory.subarray(i * count, (i + 1) * count))
  const next = new Uint8Array(count)
  for (let i = 0; i < count; i++) {
    const edge = edges[i]
    cost[i] = edge.cost
    time[i] = edge.time
    bytes[i] = edge.bytes
    next[i] = edge.next
  }
  return { cost, time, bytes, next }
}

/** The relaxation with these multipliers; `weight` 0 ignores costs, for the path that takes least memory. */
export function relax(
  problem: Problem,
  layers: Layers,
  slope: number,
  price: number,
  intercept: number,
  group: Group,
  weight = 1,
): Relaxation {
  const { start, memoryBytes } = problem
  const { kinds } = layers
  const { toGo, least, choice } = layers.pool.takeRelaxed(NODES)
  least.fill(Infinity)
  choice.fill(-1)
  for (let k = 0; k < kinds.length; k++) weigh(kinds[k], slope, price, weight, 4 * k, least, choice)
  const weighEnd = (last: End): number => weight * last.cost + slope * last.time + price * last.bytes
  walkBack(problem, layers, least, group, weighEnd(problem.end[0]), weighEnd(problem.end[1]), toGo)
  const limit = price === 0 ? 0 : price * (start.bytes - memoryBytes)
  const bound = weight * start.cost + slope * start.time + limit + intercept + toGo[FRESH]
  return { group, slope, price, intercept, toGo, least, choice, bound }
}

function walkBack(
  { startSide }: Problem,
  { kindOf }: Layers,
  least: Float64Array,
  group: Group,
  edgeEnd: number,
  cloudEnd: number,
  toGo: Float64Array,
): void {
  const count = kindOf.length
  const away = 1 - startSide
  // Values after the current layer: on either side, and without a change so far.
  let edge = edgeEnd
  let cloud = cloudEnd
  let fresh = group === 'leave' ? Infinity : startSide === 0 ? edge : cloud
  for (let layer = count; ; layer--) {
    const here = NODES * layer
    toGo[here] = edge
    toGo[here + 1] = cloud
    toGo[here + FRESH] = fresh
    if (layer === 0) return
    const at = 4 * kindOf[layer - 1]
    const stay = least[at + 3 * startSide] + fresh
    const leave = group === 'stay' ? Infinity : least[at + 2 * startSide + away] + (away === 0 ? edge : cloud)
    const fromEdge = Math.min(least[at] + edge, least[at + 1] + cloud)
    cloud = Math.min(least[at + 2] + edge, least[at + 3] + cloud)
    edge = fromEdge
    fresh = Math.min(stay, leave)
  }
}

function weigh(
  kind: Kind,
  slope: number,
  price: number,
  weight: number,
  at: number,
  least: Float64Array,
  choice: Int32Array,
): void {
  for (let side = 0; side < 2; side++) {
    const [cost, time, bytes, next] = [kind.cost[side], kind.time[side], kind.bytes[side], kind.next[side]]
    for (let i = 0; i < cost.length; i++) {
      const value = weight * cost[i] + slope * time[i] + price * bytes[i]
      const to = at + 2 * side + next[i]
      if (value < least[to]) {
        least[to] = value
        choice[to] = i
      }
    }
  }
}

/** The best path of a relaxation, with its true value. */
export function follow(problem: Problem, layers: Layers, relaxation: Relaxation): ChoicePath {
  const { kindOf } = layers
  const { least, choice, toGo, group } = relaxation
  const { choices, sides } = layers.pool.takeSteps()
  const { startSide } = problem
  let side: number = startSide
  let isFresh = true
  for (let layer = 0; layer < kindOf.length; layer++) {
    const at = 4 * kindOf[layer] + 2 * side
    const next = NODES * (layer + 1)
    sides[layer] = side
    const stay = least[at + side] + toGo[next + (isFresh ? FRESH : side)]
    const leave = least[at + 1 - side] + toGo[next + 1 - side]
    if (leave < stay && !(isFresh && group === 'stay')) {
      side = 1 - side
      isFresh = false
    }
    choices[layer] = choice[at + side]
    if (choices[layer] < 0 || !(Math.min(stay, leave) < Infinity)) {
      return { choices, sides, cost: Infinity, time: 0, bytes: Infinity, value: Infinity }
    }
  }
  sides[kindOf.length] = side
  return choicePathOf(problem, layers, choices, sides)
}

/** Computes a path's cost, time and bytes. */
export function choicePathOf(
  problem: Problem,
  layers: Layers,
  choices: Int32Array,
  sides: Uint8Array,
): ChoicePath {
  let { cost, time, bytes } = problem.start
  for (let layer = 0; layer < choices.length; layer++) {
    const kind = layers.kinds[layers.kindOf[layer]]
    const side = sides[layer]
    cost += kind.cost[side][choices[layer]]
    time += kind.time[side][choices[layer]]
    bytes += kind.bytes[side][choices[layer]]
  }
  const last = problem.end[sides[choices.length] as 0 | 1]
  cost += last.cost
  time += last.time
  bytes += last.bytes
  return { choices, sides, cost, time, bytes, value: cost + problem.penalty(time) }
}

/** The transitions that a path takes, one a layer. */
export function edgesOf(layers: Layers, path: ChoicePath): LayerTransition[] {
  return Array.from(
    path.choices,
    (choice, layer) => layers.kinds[layers.kindOf[layer]].edges[path.sides[layer] as 0 | 1][choice],
  )
}
