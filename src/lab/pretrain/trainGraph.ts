import { GraphBuilder } from '../../core/onnx/builder.ts'
import type { Handle } from '../../core/onnx/builder.ts'
import { gradients } from '../../core/onnx/gradients.ts'
import { adamStep, clipByGlobalNorm } from '../../core/onnx/optimizer.ts'
import { parameterViews } from '../../core/onnx/parameters.ts'
import { decayedSize, networkLayout, networkLogits } from './network.ts'
import type { Network } from './network.ts'

/** Options of the training step's graph. */
interface TrainStepOptions {
  /** Windows per step, and tokens per window. */
  readonly batch: number
  readonly window: number
  /** Weight of each exit's loss relative to the last layer's. */
  readonly exitWeight: number
  readonly maxGradientNorm: number
  readonly weightDecay: number
  readonly adamBeta1: number
  readonly adamBeta2: number
}

/**
 * One training step as one static graph: forward, cross-entropy of the last layer plus `exitWeight` times each exit's,
 * backward, clip by global norm, Adam with decoupled weight decay on the matrices (Loshchilov & Hutter 2019, algorithm
 * 2). With P parameters, B windows of W tokens and E exits:
 * - inputs: parameters, firstMoment, secondMoment float32 [P]; beta1Power, beta2Power float64 []; learningRate float32
 * []; ids int32 [B, W]; targets int32 [B, W], the token after each id.
 * - outputs: the first five after the step, as next.<name>; losses float32 [E + 1] (nats per token, exits first);
 * gradientNorm [].
 */
export function trainStepModel(network: Network, options: TrainStepOptions): Uint8Array {
  const g = new GraphBuilder('pretrain-step')
  const layout = networkLayout(network)
  const vector = (name: string): Handle => g.input(name, 'float32', [layout.size])
  const flat = vector('parameters')
  const losses = lossesOf(g, network, flat, options)
  const loss = g.reduceSum(g.mul(losses, g.constant(lossWeights(network, options.exitWeight))))

  const [raw] = gradients(g, loss, [flat])
  const { gradient, norm } = clipByGlobalNorm(g, raw, options.maxGradientNorm)
  const learningRate = g.input('learningRate', 'float32', [])
  const [matrices, rest] = g.split(flat, [decayedSize(layout), layout.size - decayedSize(layout)], 0)
  const kept = g.sub(1, g.mul(learningRate, options.weightDecay))
  const next = adamStep(g, {
    parameters: g.concat([g.mul(matrices, kept), rest], 0),
    gradient,
    firstMoment: vector('firstMoment'),
    secondMoment: vector('secondMoment'),
    beta1Power: g.input('beta1Power', 'float64', []),
    beta2Power: g.input('beta2Power', 'float64', []),
    learningRate,
    beta1: options.adamBeta1,
    beta2: options.adamBeta2,
  })
  for (const [name, value] of Object.entries<Handle>({ ...next })) g.output(value, `next.${name}`)
  g.output(losses, 'losses')
  g.output(norm, 'gradientNorm')
  return g.serialize()
}

/** Mean cross-entropy [exits + 1] of a batch of windows; declares the inputs `ids` and `targets`. */
export function lossesOf(
  g: GraphBuilder,
  network: Network,
  flat: Handle,
  { batch, window }: { readonly batch: number; readonly window: number },
): Handle {
  const ids = g.input('ids', 'int32', [batch, window])
  const targets = g.input('targets', 'int32', [batch, window])
  const logits = networkLogits(g, network, parameterViews(g, flat, networkLayout(network)), ids)
  const heads = network.exitLayers.length + 1
  const tokens = batch * window
  const column = g.reshape(targets, [tokens, 1])
  const rows = g.concat(new Array<Handle>(heads).fill(column), 0)
  const logProbabilities = g.gatherElements(g.logSoftmax(logits), rows, 1)
  return g.neg(g.reduceMean(g.reshape(logProbabilities, [heads, tokens]), [1]))
}

function lossWeights(network: Network, exitWeight: number): number[] {
  return [...network.exitLayers.map(() => exitWeight), 1]
}
