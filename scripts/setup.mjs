import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { INTERRUPTED, root, runNpm } from './process.mjs'

const OLDEST_NODE = [20, 19]

/**
 * Installs and builds whatever is missing or stale, and with `force` builds in any case. Returns the exit code; 0 and
 * silent when all is there.
 */
export async function setup({ force = false } = {}) {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
    process.stderr.write(`Node\n  expected: >= ${OLDEST_NODE.join('.')}\n  found: ${process.versions.node}\n`)
    return 2
  }
  return (await install()) || (await build({ force }))
}

async function install() {
  if (isInstalled()) return 0
  process.stderr.write('Installing dependencies with npm ci (once; a minute or two) ...\n')
  // .npmrc forbids install scripts: no package runs code of its own while it is installed.
  const { code, output } = await runNpm(['ci', '--no-audit', '--no-fund'], { quiet: true })
  if (code !== 0 && code !== INTERRUPTED) process.stderr.write(`${output}\nnpm ci failed\n`)
  return code
}

/**
 * npm writes node_modules/.package-lock.json last, so it is there only after a complete installation.
 * Optional packages (binaries of other platforms) may be absent.
 */
function isInstalled() {
  const installed = readPackages(join(root, 'node_modules', '.package-lock.json'))
  const wanted = readPackages(join(root, 'package-lock.json'))
  if (installed === null || wanted === null) return false
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true
    const found = installed[path]
    return found === undefined ? entry.optional === true : found.version === entry.version
  })
}

function readPackages(path) {
  if (!existsSync(path)) return null
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages ?? null
  } catch {
    return null
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exit(await setup({ force: process.argv.includes('--build') }))
}
