//! The options of `keyside sandbox` about the state of the account, which `keyside doctor` asks
//! for.

use keyside_sandbox::AccountStanding;

/// The state of the account and its numbers, as the sandbox tells it. No other behaviour depends on
/// this state.
#[derive(Debug, clap::Args)]
pub(super) struct StandingArgs {
    /// Say that the status of every number is this, such as BANNED
    #[arg(long, value_name = "STATUS", default_value = "CONNECTED")]
    number_status: String,
    /// Say that the quality of every number is this: GREEN, YELLOW or RED
    #[arg(long, value_name = "RATING", default_value = "GREEN")]
    quality: String,
    /// Say that the messaging limit is this
    #[arg(long, value_name = "TIER", default_value = "TIER_250")]
    tier: String,
    /// Say that messages can be sent so: AVAILABLE, LIMITED or BLOCKED
    #[arg(long, value_name = "STATE", default_value = "AVAILABLE")]
    health: String,
    /// Say that the app is not subscribed to the account
    #[arg(long)]
    unsubscribed: bool,
    /// Say that this callback URL is set on every number; events go to --callback all the same
    #[arg(long, value_name = "URL")]
    number_callback: Option<String>,
    /// Say that this callback URL is set on the account; events go to --callback all the same
    #[arg(long, value_name = "URL")]
    account_callback: Option<String>,
}

impl From<StandingArgs> for AccountStanding {
    fn from(args: StandingArgs) -> Self {
        Self {
            number_status: args.number_status,
            quality: args.quality,
            tier: args.tier,
            health: args.health,
            subscribed: !args.unsubscribed,
            number_callback: args.number_callback,
            account_callback: args.account_callback,
        }
    }
}
