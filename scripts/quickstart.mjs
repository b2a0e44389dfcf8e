import { join } from 'node:path'
import { root, runNode } from './process.mjs'
import { setup } from './setup.mjs'

const ready = await setup()
if (ready !== 0) process.exit(ready)
const { code } = await runNode([join(root, 'dist', 'cli.js'), 'quickstart', ...process.argv.slice(2)])
process.exit(code)
