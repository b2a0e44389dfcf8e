import type { GraphBuilder, Operand } from './builder.ts'
import type { Handle } from './graph.ts'

/** The Euclidean norm of a gradient vector [P], a scalar. */
function globalNorm(g: GraphBuilder, gradient: Handle): Handle {
  return g.sqrt(g.reduceSumSquare(gradient))
}

/** Scales a gradient [P] so that its norm is at most `maxNorm` (torch.nn.utils.clip_grad_norm_: factor min(1, max / (norm + 1e-6))). */
export function clipByGlobalNorm(
  g: GraphBuilder,
  gradient: Handle,
  maxNorm: Operand,
): { gradient: Handle; norm: Handle; factor: Handle } {
  const norm = globalNorm(g, gradient)
  const factor = g.min(g.div(maxNorm, g.add(norm, 1e-6)), 1)
  return { gradient: g.mul(gradient, factor), norm, factor }
}

interface AdamInputs {
  /** Parameters, gradient and both moments: vectors of one length, float32. */
  parameters: Handle
  gradient: Handle
  /**
   * A scalar by which the gradient is multiplied; cheaper here (clipByGlobalNorm's `factor`) than as an extra pass over
   * the vector.
   */
  gradientFactor?: Handle
  firstMoment: Handle
  secondMoment: Handle
  /** beta1^t and beta2^t after the steps so far, float64 scalars; 1 before the first step. */
  beta1Power: Handle
  beta2Power: Handle
  learningRate: Operand
  beta1?: number
  beta2?: number
  epsilon?: number
}

interface AdamOutputs {
  parameters: Handle
  firstMoment: Handle
  secondMoment: Handle
  beta1Power: Handle
  beta2Power: Handle
}

/**
 * One step of Adam (Kingma & Ba 2015, algorithm 1, in PyTorch's form). The state is passed in and returned. The powers
 * are float64, because 1 - beta2^t loses half its digits in float32.
 */
export function adamStep(g: GraphBuilder, inputs: AdamInputs): AdamOutputs {
  const { gradient, gradientFactor, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8 } = inputs
  const beta1Power = g.mul(inputs.beta1Power, beta1)
  const beta2Power = g.mul(inputs.beta2Power, beta2)
  const weight1 = gradientFactor === undefined ? 1 - beta1 : g.mul(gradientFactor, 1 - beta1)
  const weight2 = gradientFactor === undefined ? 1 - beta2 : g.mul(g.square(gradientFactor), 1 - beta2)
  const firstMoment = g.add(g.mul(inputs.firstMoment, beta1), g.mul(gradient, weight1))
  const secondMoment = g.add(g.mul(inputs.secondMoment, beta2), g.mul(g.square(gradient), weight2))
  // theta - rate m / c1 / (sqrt(v) / c2 + epsilon); combining the scalars first saves one pass over each vector.
  const correction1 = g.cast(g.sub(1, beta1Power), 'float32')
  const correction2 = g.cast(g.sqrt(g.sub(1, beta2Power)), 'float32')
  const stepSize = g.div(g.mul(inputs.learningRate, correction2), correction1)
  const denominator = g.add(g.sqrt(secondMoment), g.mul(correction2, epsilon))
  const parameters = g.sub(inputs.parameters, g.mul(g.div(firstMoment, denominator), stepSize))
  return { parameters, firstMoment, secondMoment, beta1Power, beta2Power }
}
