import type { PackManifest } from './manifest.ts'

/** README.md of a pack: what it is, how it is checked and started. Only what holds for this very pack. */
export function readmeOf(head: Omit<PackManifest, 'files'>): string {
  const { edgewise, target, node, onnxruntime, model, bundle } = head
  const linux = target.startsWith('linux-')
  return `${[
    `# Edgewise ${edgewise} for ${target}`,
    `One side of a split language model, edge or cloud: ${model.id}, ${bundle === null ? 'no policy bundle' : `the policy bundle ${bundle}`}, ONNX Runtime ${onnxruntime}. It needs Node ${node} and nothing else.`,
    'Check that it is what was packed (compare the hash with the one printed at packing):',
    fence('node edgewise.mjs pack --check .'),
    ...(bundle === null
      ? []
      : [
          'What the policy decides here:',
          fence('node edgewise.mjs decide bundle --up-mbps 20 --down-mbps 50 --rtt-ms 40'),
        ]),
    'Generate without a cloud:',
    fence(`node edgewise.mjs edge --model ${model.argument} --plan edge --prompt "Once"`),
    'As the cloud of edges on this machine:',
    fence(`node edgewise.mjs cloud --model ${model.argument}`),
    ...(linux ? ['As a service: the units of systemd in `deploy/`.'] : []),
  ].join('\n\n')}\n`
}

function fence(line: string): string {
  return `\`\`\`sh\n${line}\n\`\`\``
}
