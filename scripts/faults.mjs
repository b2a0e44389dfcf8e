// `npm run test:faults`: builds, then runs faults by seed (test/faults). `-- --help` names the options.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { INTERRUPTED, root, runNode, tool } from './process.mjs'
import { setup } from './setup.mjs'

/** Where packages are found from. */
const folder = join(root, 'node_modules', '.cache', `edgewise-faults-${process.pid}`)

async function main(args) {
  const ready = await setup()
  if (ready !== 0) return ready
  const config = join('test', 'faults', 'tsdown.config.ts')
  const bundle = [tool('tsdown', 'dist', 'run.mjs'), '--config', config, '--out-dir', folder]
  const built = await runNode(bundle, { quiet: true })
  if (built.code !== 0) {
    if (built.code !== INTERRUPTED) process.stderr.write(`${built.output}\nbuild failed\n`)
    return built.code
  }
  const env = { ...process.env, EDGEWISE_ROOT: root }
  const { code } = await runNode([join(folder, 'main.mjs'), ...args], { env })
  return code
}

try {
  process.exitCode = await main(process.argv.slice(2))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
