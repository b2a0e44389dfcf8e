import type { GradientContext } from './gradientContext.ts'
import type { GradientRule } from './gradients.ts'
import type { Handle } from './graph.ts'
import { numbersOf } from './tensor.ts'

/** Gradient rules of element-wise operators. */

/** dx = dy * slope, slope of the shape of x. */
function unary(slope: (c: GradientContext) => Handle): GradientRule {
  return (c) => c.give(0, () => c.g.mul(c.loose(), slope(c)))
}

const none: GradientRule = () => {}

const twoOverRootPi = 2 / Math.sqrt(Math.PI)
const rootHalf = Math.SQRT1_2
const rootTwoOverPi = Math.sqrt(2 / Math.PI)

const mul: GradientRule = (c) => {
  const { g } = c
  if (c.x(0) === c.x(1)) {
    c.give(0, () => g.mul(c.loose(), g.mul(c.x(), 2)))
    return
  }
  c.giveBroadcast(0, () => g.mul(c.loose(), c.x(1)))
  c.giveBroadcast(1, () => g.mul(c.loose(), c.x(0)))
}

const div: GradientRule = (c) => {
  const { g } = c
  c.giveBroadcast(0, () => g.div(c.loose(), c.x(1)))
  c.giveBroadcast(1, () => g.neg(g.div(g.mul(c.loose(), c.y()), c.x(1))))
}

const pow: GradientRule = (c) => {
  const { g } = c
  const exponent = c.g.constantValue(c.x(1))
  const only = exponent !== undefined && exponent.data.length === 1 ? numbersOf(exponent)[0] : undefined
  c.giveBroadcast(0, () => {
    if (only === 2) return g.mul(c.loose(), g.mul(c.x(), 2))
    const lowered = only === undefined ? g.pow(c.x(), g.sub(c.x(1), 1)) : g.pow(c.x(), only - 1)
    return g.mul(c.loose(), g.mul(lowered, only ?? c.x(1)))
  })
  c.giveBroadcast(1, () => g.mul(c.loose(), g.mul(c.y(), g.log(c.x()))))
}

/** Min and Max: the first argument takes the gradient where both are equal. */
function extremum(firstWins: (c: GradientContext) => Handle): GradientRule {
  return (c) => {
    if (c.node.inputs.length !== 2) throw c.fail('two arguments', `${c.node.inputs.length}`)
    const first = firstWins(c)
    c.giveBroadcast(0, () => c.g.where(first, c.loose(), 0))
    c.giveBroadcast(1, () => c.g.where(first, 0, c.loose()))
  }
}

const clip: GradientRule = (c) => {
  const { g } = c
  const x = c.x()
  const below = c.has(1) ? g.less(x, c.x(1)) : null
  const above = c.has(2) ? g.greater(x, c.x(2)) : null
  const outside = below !== null && above !== null ? g.or(below, above) : (below ?? above)
  c.give(0, () => (outside === null ? c.loose() : g.where(outside, 0, c.loose())))
  if (below !== null) c.giveBroadcast(1, () => g.where(below, c.loose(), 0))
  if (above !== null) c.giveBroadcast(2, () => g.where(above, c.loose(), 0))
}

const where: GradientRule = (c) => {
  c.giveBroadcast(1, () => c.g.where(c.x(), c.loose(), 0))
  c.giveBroadcast(2, () => c.g.where(c.x(), 0, c.loose()))
}

const sum: GradientRule = (c) => {
  c.node.inputs.forEach((_, i) => c.giveBroadcast(i, () => c.loose()))
}

const gelu = unary((c) => {
  const { g } = c
  const x = c.x()
  if (c.text('approximate', 'none') === 'none') {
    const density = g.mul(g.exp(g.mul(g.square(x), -0.5)), rootTwoOverPi / 2)
    return g.add(g.mul(g.add(g.erf(g.mul(x, rootHalf)), 1), 0.5), g.mul(x, density))
  }
  const squared = g.square(x)
  const t = g.tanh(g.mul(g.mul(x, g.add(g.mul(squared, 0.044715), 1)), rootTwoOverPi))
  const inner = g.mul(g.add(g.mul(squared, 3 * 0.044715), 1), rootTwoOverPi)
  const right = g.mul(g.mul(g.sub(1, g.square(t)), inner), x)
  return g.mul(g.add(g.add(t, 1), right), 0.5)
})

export const arithmeticGradients: Readonly<Record<string, GradientRule>> = {
  Add: sum,
  Sum: sum,
  Sub: (c) => {
    c.giveBroadcast(0, () => c.loose())
    c.giveBroadcast(1, () => c.g.neg(c.loose()))
  },
  Mul: mul,
  Div: div,
  Pow: pow,
  Min: extremum((c) => c.g.lessOrEqual(c.x(0), c.x(1))),
  Max: extremum((c) => c.g.greaterOrEqual(c.x(0), c.x(1))),
  Clip: clip,
  Where: where,
  Identity: (c) => c.give(0, () => c.loose()),
  Cast: (c) => c.give(0, () => c.g.cast(c.loose(), c.x().dtype)),
  Neg: (c) => c.give(0, () => c.g.neg(c.loose())),
  Abs: unary((c) => c.g.node('Sign', [c.x()])[0]),
  Sqrt: (c) => c.give(0, () => c.g.div(c.g.mul(c.loose(), 0.5), c.y())),
  Exp: unary((c) => c.y()),
  Log: (c) => c.give(0, () => c.g.div(c.loose(), c.x())),
  Reciprocal: unary((c) => c.g.neg(c.g.square(c.y()))),
  Tanh: unary((c) => c.g.sub(1, c.g.square(c.y()))),
  Sigmoid: unary((c) => c.g.mul(c.y(), c.g.sub(1, c.y()))),
  Softplus: unary((c) => c.g.sigmoid(c.x())),
  Relu: (c) => c.give(0, () => c.g.where(c.g.greater(c.x(), 0), c.loose(), 0)),
  Erf: unary((c) => c.g.mul(c.g.exp(c.g.neg(c.g.square(c.x()))), twoOverRootPi)),
  Sin: unary((c) => c.g.cos(c.x())),
  Cos: unary((c) => c.g.neg(c.g.sin(c.x()))),
  Gelu: gelu,
  Sign: none,
  Floor: none,
  Ceil: none,
  Round: none,
}
