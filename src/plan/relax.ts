import type { Edge, End, LayerEdges, Problem } from './solve.ts'

/** The choices of equal layers in columns, by side before the layer. */
export interface Kind {
  readonly edges: LayerEdges
  readonly cost: readonly [Float64Array, Float64Array]
  readonly time: readonly [Float64Array, Float64Array]
  readonly bytes: readonly [Float64Array, Float64Array]
  readonly next: readonly [Uint8Array, Uint8Array]
}

/** Layers as kinds: what four plan-wide choices and all their relaxations share. */
export interface Layers {
  readonly kinds: readonly Kind[]
  /** Kind by layer. */
  readonly kindOf: Uint8Array
}

/**
 * Paths whose residual stays on the side it began on, those that leave it, or any. What a change of sides costs is paid
 * by all of those that leave: bounds for one group at a time lie far closer than one for all.
 */
export type Group = 'any' | 'stay' | 'leave'

/** Nodes of one layer: on either side; and on the first side, not left yet. */
export const NODES = 3
export const FRESH = 2

/** One Lagrangian relaxation: weight x cost + slope x time + price x (bytes - limit) + intercept. */
export interface Relaxation {
  readonly group: Group
  readonly slope: number
  readonly price: number
  readonly intercept: number
  /** Least relaxed cost from a node to the end, index NODES x layer + node. */
  readonly toGo: Float64Array
  /** Index 4 kind + 2 side before + side after: the least choice, and what it weighs; -1 and Infinity if there is none. */
  readonly least: Float64Array
  readonly choice: Int32Array
  /** No path has a lower value. */
  readonly bound: number
}

/** A path by the place of its choices among those of its layer and side. */
export interface Walk {
  readonly choices: Int32Array
  /** Side before each layer, and after the last. */
  readonly sides: Uint8Array
  readonly cost: number
  readonly time: number
  readonly bytes: number
  /** Cost and penalty; Infinity if no path leads on. */
  readonly value: number
}

const known = new WeakMap<readonly LayerEdges[], Layers>()

/** The kinds of a list of layers; asked again about the same list, the same answer. */
export function layersOf(list: readonly LayerEdges[]): Layers {
  const found = known.get(list)
  if (found !== undefined) return found
  const distinct = [...new Set(list)]
  const kinds = distinct.map((edges) => kindOf(edges))
  const layers = { kinds, kindOf: Uint8Array.from(list, (edges) => distinct.indexOf(edges)) }
  known.set(list, layers)
  return layers
}

function kindOf(edges: LayerEdges): Kind {
  const [first, second] = [columnsOf(edges[0]), columnsOf(edges[1])]
  return {
    edges,
    cost: [first.cost, second.cost],
    time: [first.time, second.time],
    bytes: [first.bytes, second.bytes],
    next: [first.next, second.next],
  }
}

function columnsOf(edges: readonly Edge[]) {
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

/** The relaxation with these multipliers; `weight` 0 leaves costs out, for the path that takes least memory. */
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
  const least = new Float64Array(4 * kinds.length).fill(Infinity)
  const choice = new Int32Array(4 * kinds.length).fill(-1)
  kinds.forEach((kind, k) => {
    weigh(kind, slope, price, weight, 4 * k, least, choice)
  })
  const toGo = walkBack(problem, layers, least, group, (last) => {
    return weight * last.cost + slope * last.time + price * last.bytes
  })
  const limit = price === 0 ? 0 : price * (start.bytes - memoryBytes)
  const bound = weight * start.cost + slope * start.time + limit + intercept + toGo[FRESH]
  return { group, slope, price, intercept, toGo, least, choice, bound }
}

function walkBack(
  { end, startSide }: Problem,
  { kindOf }: Layers,
  least: Float64Array,
  group: Group,
  weighEnd: (end: End) => number,
): Float64Array {
  const count = kindOf.length
  const toGo = new Float64Array(NODES * (count + 1))
  for (const side of [0, 1] as const) toGo[NODES * count + side] = weighEnd(end[side])
  toGo[NODES * count + FRESH] = group === 'leave' ? Infinity : toGo[NODES * count + startSide]
  const away = 1 - startSide
  for (let layer = count - 1; layer >= 0; layer--) {
    const at = 4 * kindOf[layer]
    const [here, next] = [NODES * layer, NODES * (layer + 1)]
    toGo[here] = Math.min(least[at] + toGo[next], least[at + 1] + toGo[next + 1])
    toGo[here + 1] = Math.min(least[at + 2] + toGo[next], least[at + 3] + toGo[next + 1])
    const stay = least[at + 3 * startSide] + toGo[next + FRESH]
    const leave = group === 'stay' ? Infinity : least[at + 2 * startSide + away] + toGo[next + away]
    toGo[here + FRESH] = Math.min(stay, leave)
  }
  return toGo
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

/** The path that a relaxation calls best, with its true value. */
export function follow(problem: Problem, layers: Layers, relaxation: Relaxation): Walk {
  const { kindOf } = layers
  const { least, choice, toGo, group } = relaxation
  const choices = new Int32Array(kindOf.length)
  const sides = new Uint8Array(kindOf.length + 1)
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
  return walkOf(problem, layers, choices, sides)
}

/** Sums a path up. */
export function walkOf(problem: Problem, layers: Layers, choices: Int32Array, sides: Uint8Array): Walk {
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

export function edgesOf(layers: Layers, walk: Walk): Edge[] {
  return Array.from(
    walk.choices,
    (choice, layer) => layers.kinds[layers.kindOf[layer]].edges[walk.sides[layer] as 0 | 1][choice],
  )
}
