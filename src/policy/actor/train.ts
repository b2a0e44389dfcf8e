import { GraphBuilder } from '../../core/onnx/builder.ts'
import type { Handle } from '../../core/onnx/builder.ts'
import { gradients } from '../../core/onnx/gradients.ts'
import { adamStep, clipByGlobalNorm } from '../../core/onnx/optimizer.ts'
import { parameterViews } from '../../core/onnx/parameters.ts'
import { actorLayout } from './actor.ts'
import type { ActorSpec } from './actor.ts'
import { critic, encoder, headLogits } from './graph.ts'
import type { ParameterHandles } from './graph.ts'

/** Constants of the training step's graph; everything that changes during a training is an input. */
interface TrainStepOptions {
  /** Decisions in a minibatch. */
  readonly batch: number
  readonly valueCoefficient: number
  /** Clip range of the values (in the critics' normalised unit); null: plain squared errors. */
  readonly valueClip: number | null
  readonly maxGradientNorm: number
  readonly adamBeta1: number
  readonly adamBeta2: number
  readonly adamEpsilon: number
}

/** Names of the elements of the metrics vector, in order. Losses are means over the minibatch. */
export function metricNames(spec: ActorSpec): string[] {
  return [
    'policyLoss',
    ...spec.heads.map((head) => `entropy.${head.name}`),
    ...spec.critics.map((name) => `valueLoss.${name}`),
    'approxKl',
    'clipFraction',
    'gradientNorm',
  ]
}

/**
 * One PPO minibatch step as one static graph: forward, losses, backward, clip by global norm, Adam. With B decisions,
 * head j with R_j rows and C_j choices, P parameters, K critics, float32 unless noted:
 * - inputs: parameters, firstMoment, secondMoment [P]; beta1Power, beta2Power [] (float64; before the step);
 * learningRate, clipRange []; entropyCoefficients [heads]; normalised [B, D]; for each head j: choices.j [B R_j, 1]
 * (int32), features.j [B R_j, S] if it uses them, maskBias.j [B R_j, C_j] (0 or MASKED_LOGIT) if it is masked;
 * oldLogProbability, advantages [B]; targets [B, K]; oldValues [B, K] with valueClip.
 * - outputs: the first five after the step, as next.<name>; metrics [metricNames(spec).length].
 * The log-probability of a decision is the sum over its rows. A forced row (one allowed choice) adds exactly 0 to it,
 * to the entropy and to every gradient. Schulman et al. 2017, equations 7 and 9.
 */
export function trainStepModel(spec: ActorSpec, options: TrainStepOptions): Uint8Array {
  const graph = new GraphBuilder('ppo-step')
  const { batch } = options
  const layout = actorLayout(spec)
  const vector = (name: string, size: number): Handle => graph.input(name, 'float32', [size])
  const scalar = (name: string, dtype: 'float32' | 'float64' = 'float32'): Handle =>
    graph.input(name, dtype, [])
  const flat = vector('parameters', layout.size)
  const firstMoment = vector('firstMoment', layout.size)
  const secondMoment = vector('secondMoment', layout.size)
  const parameters = parameterViews(graph, flat, layout)
  const x = graph.input('normalised', 'float32', [batch, spec.observationSize])

  const policy = policyTerms(graph, spec, parameters, x, batch)
  const clipRange = scalar('clipRange')
  const advantages = vector('advantages', batch)
  const logRatio = graph.sub(policy.logProbability, vector('oldLogProbability', batch))
  const ratio = graph.exp(logRatio)
  const clipped = graph.clip(ratio, graph.sub(1, clipRange), graph.add(1, clipRange))
  const surrogate = graph.min(graph.mul(ratio, advantages), graph.mul(clipped, advantages))
  const policyLoss = graph.neg(graph.reduceMean(surrogate))

  const entropies = graph.concat(policy.entropies, 0)
  const bonus = graph.reduceSum(graph.mul(entropies, vector('entropyCoefficients', spec.heads.length)))
  const values = spec.critics.map((name) => critic(graph, spec, parameters, name, x))
  const valueLosses = valueTerms(graph, graph.concat(values, 1), batch, spec.critics.length, options)
  const valueLoss = graph.mul(graph.reduceSum(valueLosses), options.valueCoefficient)
  const loss = graph.add(graph.sub(policyLoss, bonus), valueLoss)

  const [raw] = gradients(graph, loss, [flat])
  const { gradient, norm } = clipByGlobalNorm(graph, raw, options.maxGradientNorm)
  const next = adamStep(graph, {
    parameters: flat,
    gradient,
    firstMoment,
    secondMoment,
    beta1Power: scalar('beta1Power', 'float64'),
    beta2Power: scalar('beta2Power', 'float64'),
    learningRate: scalar('learningRate'),
    beta1: options.adamBeta1,
    beta2: options.adamBeta2,
    epsilon: options.adamEpsilon,
  })
  for (const [name, value] of Object.entries<Handle>({ ...next })) graph.output(value, `next.${name}`)

  // Schulman's low-variance estimator of the KL divergence, http://joschu.net/blog/kl-approx.html
  const approxKl = graph.reduceMean(graph.sub(graph.sub(ratio, 1), logRatio))
  const outside = graph.cast(graph.greater(graph.abs(graph.sub(ratio, 1)), clipRange), 'float32')
  const single = (value: Handle): Handle => graph.reshape(value, [1])
  const tail = [approxKl, graph.reduceMean(outside), norm].map(single)
  graph.output(graph.concat([single(policyLoss), entropies, valueLosses, ...tail], 0), 'metrics')
  return graph.serialize()
}

/** Log-probability [B] of the chosen actions, and each head's entropy [1], summed over a decision's rows. */
function policyTerms(
  graph: GraphBuilder,
  spec: ActorSpec,
  parameters: ParameterHandles,
  x: Handle,
  batch: number,
): { logProbability: Handle; entropies: Handle[] } {
  const h = encoder(graph, spec, parameters, x)
  const logProbabilities: Handle[] = []
  const entropies: Handle[] = []
  spec.heads.forEach((head, index) => {
    const rows = spec.headOf.filter((of) => of === index).length
    const total = batch * rows
    const choices = graph.input(`choices.${head.name}`, 'int32', [total, 1])
    const features = head.usesRowFeatures
      ? graph.input(`features.${head.name}`, 'float32', [total, spec.rowFeatureSize])
      : null
    let logits = headLogits(graph, head, parameters, h, features, rows)
    if (head.masked) {
      logits = graph.add(logits, graph.input(`maskBias.${head.name}`, 'float32', [total, head.choices]))
    }
    const logs = graph.logSoftmax(logits, -1)
    const chosen = graph.gatherElements(logs, choices, 1)
    logProbabilities.push(
      rows === 1
        ? graph.reshape(chosen, [batch])
        : graph.reduceSum(graph.reshape(chosen, [batch, rows]), [1]),
    )
    const negative = graph.reduceSum(graph.mul(graph.exp(logs), logs))
    entropies.push(graph.reshape(graph.mul(negative, -1 / batch), [1]))
  })
  return { logProbability: graph.addAll(logProbabilities), entropies }
}

/** Value losses [K]: half the mean squared error of each critic, clipped as in CleanRL if valueClip is set. */
function valueTerms(
  graph: GraphBuilder,
  values: Handle,
  batch: number,
  critics: number,
  options: TrainStepOptions,
): Handle {
  const targets = graph.input('targets', 'float32', [batch, critics])
  const squared = graph.square(graph.sub(values, targets))
  if (options.valueClip === null) return graph.mul(graph.reduceMean(squared, [0]), 0.5)
  const oldValues = graph.input('oldValues', 'float32', [batch, critics])
  const moved = graph.clip(graph.sub(values, oldValues), -options.valueClip, options.valueClip)
  const other = graph.square(graph.sub(graph.add(oldValues, moved), targets))
  return graph.mul(graph.reduceMean(graph.max(squared, other), [0]), 0.5)
}
