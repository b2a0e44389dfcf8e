import { InputError } from '../errors.ts'
import type { GraphBuilder } from './builder.ts'
import { sameDims, showDims } from './dims.ts'
import { GradientContext, expandTo, zerosLike } from './gradientContext.ts'
import { arithmeticGradients } from './gradientsArithmetic.ts'
import { layoutGradients } from './gradientsLayout.ts'
import { productGradients } from './gradientsProducts.ts'
import type { Handle, NodeRecord } from './graph.ts'
import { isFloat } from './tensor.ts'

/** Computes the gradients of one node's inputs. */
export type GradientRule = (context: GradientContext) => void

const rules: Readonly<Record<string, GradientRule>> = {
  ...arithmeticGradients,
  ...layoutGradients,
  ...productGradients,
}

/**
 * Reverse-mode gradients: appends to `g` the nodes that compute d loss / d w for every w in `wrt`, each of the shape of
 * its w (zeros if loss does not depend on it). `loss` has one element; for another value pass `seed`, the gradient with
 * respect to it.
 * Where two arguments of Min or Max are equal, the first one takes the gradient; a maximum that occurs several times
 * shares it equally. Throws InputError for an operator without a gradient rule.
 */
export function gradients(g: GraphBuilder, loss: Handle, wrt: readonly Handle[], seed?: Handle): Handle[] {
  const start = seed ?? unitSeed(g, loss)
  if (!sameDims(start.dims, loss.dims)) {
    throw new InputError({
      where: `graph ${g.name}: gradients`,
      expected: `a seed of shape ${showDims(loss.dims)}`,
      found: showDims(start.dims),
    })
  }
  const path = nodesOnPath(g.nodes, loss, wrt)
  const partial = new Map<string, Handle[]>([[loss.name, [start]]])
  for (const node of path.nodes.reverse()) {
    if (!node.outputs.some((output) => partial.has(output.name))) continue
    const outputs = node.outputs.map((output) => total(g, partial, output))
    const context = new GradientContext(g, node, outputs, path.dependent)
    if (!Object.hasOwn(rules, node.opType) || node.domain !== '') {
      throw context.fail(
        'an operator with a gradient',
        `${node.domain}${node.domain === '' ? '' : '::'}${node.opType}`,
      )
    }
    rules[node.opType](context)
    for (const [input, gradient] of context.given) {
      partial.set(input.name, [...(partial.get(input.name) ?? []), gradient])
    }
  }
  return wrt.map((value) => {
    const found = total(g, partial, value)
    return found === null ? zerosLike(g, value) : expandTo(g, found, value)
  })
}

function unitSeed(g: GraphBuilder, loss: Handle): Handle {
  if (!isFloat(loss.dtype) || loss.dims.some((dim) => dim !== 1)) {
    throw new InputError({
      where: `graph ${g.name}: gradients`,
      expected: 'a loss of one floating-point element',
      found: `${loss.dtype}${showDims(loss.dims)}`,
      remedy: 'reduce it to a scalar, or pass a seed',
    })
  }
  return g.constant([1], loss.dtype, loss.dims as number[])
}

/** Nodes between `wrt` and `loss` in execution order, and the names of all values that depend on `wrt`. */
function nodesOnPath(nodes: readonly NodeRecord[], loss: Handle, wrt: readonly Handle[]) {
  const dependent = new Set(wrt.map((value) => value.name))
  const found: NodeRecord[] = []
  for (const node of nodes) {
    if (node.stop || !node.inputs.some((input) => input !== null && dependent.has(input.name))) continue
    const floats = node.outputs.filter((output) => isFloat(output.dtype))
    if (floats.length === 0) continue
    for (const output of floats) dependent.add(output.name)
    found.push(node)
  }
  const needed = new Set([loss.name])
  const path = found.reverse().filter((node) => {
    if (!node.outputs.some((output) => needed.has(output.name))) return false
    for (const input of node.inputs) if (input !== null) needed.add(input.name)
    return true
  })
  return { nodes: path.reverse(), dependent }
}

function total(g: GraphBuilder, partial: Map<string, Handle[]>, value: Handle): Handle | null {
  const parts = partial.get(value.name)
  if (parts === undefined) return null
  if (parts.length > 1)
    partial.set(value.name, [parts.length === 2 ? g.add(parts[0], parts[1]) : g.addAll(parts)])
  return partial.get(value.name)![0]
}
