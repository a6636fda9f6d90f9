//! Responses carry the place in the history that they reflect.

use crate::api;

pub(super) trait HasReadToken {
    fn take_read_token(&mut self) -> Option<api::ReadToken>;
}

macro_rules! has_read_token {
    ($($response:ident),+ $(,)?) => {
        $(impl HasReadToken for api::$response {
            fn take_read_token(&mut self) -> Option<api::ReadToken> {
                self.read_token.take()
            }
        })+
    };
}

has_read_token!(
    RegisterResponse,
    LoginResponse,
    LogoutResponse,
    WhoAmIResponse,
    ChangePasswordResponse,
    ListSessionsResponse,
    RevokeSessionResponse,
    ListAccountsResponse,
    DeleteAccountResponse,
    SendMessageResponse,
    ListInboxResponse,
    ListHistoryResponse,
    ListConversationsResponse,
    ConfirmDeliveryResponse,
    MarkReadResponse,
    DeleteMessagesResponse,
    GetClusterStatusResponse,
);
