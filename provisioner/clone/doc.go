// Package clone brings one commit of a repository into a directory, with the program git.
//
// Neither the repository, nor what a trigger says of it, nor the server is trusted:
//
//   - Git runs with arguments and an environment of its own. No configuration of the machine, no hook, no prompt, no transport but
//     https, ssh and, if the policy says so, http. URLs are judged by [giturl.Policy], those of submodules and of Git LFS too, before
//     Git connects to them; redirects to another server are not followed.
//   - A token reaches Git by a credential helper, see [Credential], that answers for the server of the URL alone. It is in no argument,
//     no URL, no file of the clone and no environment, and is masked in all that is printed. Its file is removed when it has served.
//   - The branch is resolved once: what was fetched is what is checked out and what [Result] tells.
//   - Nothing hangs: a transfer that stands still ends, the whole has a time limit, and when the context ends Git is killed with all
//     that it has started.
//
// An [Error] tells what failed, in Git's own words, and what would mend it; its [Reason] is for programs.
//
// It needs git 2.32 or newer, ssh for URLs of that kind, and git-lfs where LFS is asked for. Git itself runs /bin/sh for
// submodules, the credential helper and ssh, with fixed words.
package clone
